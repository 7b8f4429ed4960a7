// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Item, Part} from "../../src/interfaces/Types.sol";
import {ItemsHash} from "../../src/lib/ItemsHash.sol";
import {Checks} from "../support/Vm.sol";

contract Hasher {
    function quick(bytes32[] calldata adapters, Item[] calldata items) external pure returns (bytes32) {
        return ItemsHash.hashOf(adapters, items);
    }

    function plain(bytes32[] calldata adapters, Item[] calldata items) external pure returns (bytes32) {
        return keccak256(abi.encode(adapters, items));
    }
}

/// @notice What is hashed where it is must be what abi.encode would give, for every calldata that can be read at all.
contract ItemsHashTest is Checks {
    Hasher private _hasher = new Hasher();

    function test_fuzz_it_is_the_hash_of_the_encoding(uint256 seed, uint8 count, uint8 sizes) public view {
        (bytes32[] memory adapters, Item[] memory items) = _random(seed, count % 5, sizes);
        eq("hash", _hasher.quick(adapters, items), keccak256(abi.encode(adapters, items)));
    }

    /// @dev F: a relay that could send other bytes under the same hash would choose the split. Of every byte the highest and
    /// the lowest bit are changed, so also each place, each length, and each bit that a type leaves empty.
    function test_no_changed_byte_passes_for_another_encoding() public view {
        (bytes32[] memory adapters, Item[] memory items) = _random(3, 2, 7);
        bytes memory quick = abi.encodeCall(Hasher.quick, (adapters, items));
        bytes memory plain = abi.encodeCall(Hasher.plain, (adapters, items));
        for (uint256 at = 4; at < quick.length; ++at) {
            _areAlike(quick, plain, at, 0x01);
            _areAlike(quick, plain, at, 0x80);
        }
    }

    function test_items_at_the_same_place_are_read_as_they_are_hashed() public view {
        (bytes32[] memory adapters, Item[] memory items) = _random(3, 2, 4);
        bytes memory quick = abi.encodeCall(Hasher.quick, (adapters, items));
        bytes memory plain = abi.encodeCall(Hasher.plain, (adapters, items));
        uint256 second = 4 + 0x40 + 0x20 + 0x20 + 0x20; // after both heads, no adapters, the number of items, the first place
        (quick[second + 30], quick[second + 31]) = (quick[second - 2], quick[second - 1]);
        (plain[second + 30], plain[second + 31]) = (plain[second - 2], plain[second - 1]);
        items[1] = items[0];
        (, bytes memory hash) = address(_hasher).staticcall(quick);
        eq("twice the first", bytes32(hash), keccak256(abi.encode(adapters, items)));
        _areAlike(quick, plain, 4, 0);
    }

    function _areAlike(bytes memory quick, bytes memory plain, uint256 at, uint8 bits) private view {
        quick[at] ^= bytes1(bits);
        plain[at] ^= bytes1(bits);
        (bool isRead, bytes memory hash) = address(_hasher).staticcall{gas: 1_000_000}(quick);
        (bool isExpected, bytes memory expected) = address(_hasher).staticcall{gas: 1_000_000}(plain);
        yes("both read it or neither", isRead == isExpected);
        if (isRead) eq("the same hash", bytes32(hash), bytes32(expected));
        quick[at] ^= bytes1(bits);
        plain[at] ^= bytes1(bits);
    }

    function test_signatures_of_every_length_are_hashed() public view {
        (bytes32[] memory adapters, Item[] memory items) = _random(1, 1, 3);
        for (uint256 length = 0; length < 100; ++length) {
            items[0].signature = new bytes(length);
            for (uint256 i = 0; i < length; ++i) items[0].signature[i] = 0xff;
            eq("hash", _hasher.quick(adapters, items), keccak256(abi.encode(adapters, items)));
        }
    }

    function _random(uint256 seed, uint256 count, uint256 sizes)
        private
        pure
        returns (bytes32[] memory adapters, Item[] memory items)
    {
        adapters = new bytes32[](sizes % 4);
        items = new Item[](count);
        for (uint256 i = 0; i < count; ++i) {
            bytes32 word = keccak256(abi.encode(seed, i));
            items[i].config.payer = address(bytes20(word));
            items[i].config.authorizer = address(bytes20(~word));
            items[i].config.node = address(bytes20(keccak256(abi.encode(word))));
            items[i].config.withdrawDelay = uint64(uint256(word));
            items[i].config.salt = word;
            (items[i].maxClaimable, items[i].from, items[i].to) =
                (uint128(uint256(word)), uint128(uint256(word >> 64)), uint128(bytes16(word)));
            items[i].signature = abi.encodePacked(word, ~word, uint8(27 + i));
            items[i].parts = new Part[]((sizes + i) % 3);
            for (uint256 p = 0; p < items[i].parts.length; ++p) {
                items[i].parts[p] = Part({adapter: uint16(uint256(word) >> p), amount: uint128(bytes16(word)) >> p});
            }
        }
    }
}
