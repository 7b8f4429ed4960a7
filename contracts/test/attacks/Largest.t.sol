// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Values} from "../../src/interfaces/IParams.sol";
import {ClaimRecord, EpochClaim, Item, Opening, Share} from "../../src/interfaces/Types.sol";
import {Receipts} from "../support/Receipts.sol";
import {log_named_uint, vm} from "../support/Vm.sol";

/// @notice Attack 26: a claim that is too large for one transaction would be made again and refused for ever. So each
/// step of the largest that the contracts take must fit: 256 lanes of 32 adapters on 64 Datanets, 256 new accounts, 16
/// draws.
/// forge-config: default.isolate = true
contract LargestTest is Receipts {
    uint256 private constant MOST = 16_000_000; // a transaction may take 16,777,216 gas

    /// @dev Four accounts in each Datanet, all of them new.
    function _sharesOf(uint256, bytes32[] memory ids) internal pure override returns (Share[] memory shares) {
        shares = new Share[](4 * ids.length);
        for (uint256 s = 0; s < shares.length; ++s) {
            shares[s] = Share(ids[s / 4], address(uint160(uint256(keccak256(abi.encode(ids[s / 4], s))))), 250_000);
        }
    }

    function test_26_each_step_of_the_largest_claim_fits_a_transaction() public {
        Values memory v = values();
        v.draws = 16;
        vm.prank(governor);
        params.set(v);
        vm.warp(block.timestamp + 2 days);
        bytes32[] memory adapters = _adapters(32);
        Item[] memory items = new Item[](256);
        for (uint16 i = 0; i < 256; ++i) items[i] = _lane(_open(i), adapters[i / 8], i / 8, 0, OPEN);
        EpochClaim memory epochClaim = _epochClaim(adapters, items);
        vm.recordLogs();
        vm.prank(signer);
        channels.claim(epochClaim, adapters, items, "");
        ClaimRecord memory record = _lastRecord();
        _fits("claim");
        Book memory book = _book(record, adapters, items, 1);
        eq("payouts", book.payouts.length, 256);
        _proposeBook(book);
        _fits("propose");
        vm.warp(block.timestamp + windows().window);
        _draw(book.record, "seed");
        (Opening[] memory openings,) = _openings(book, "seed");
        eq("openings", openings.length, 16);
        rewards.finalize(book.record, book.payouts, openings);
        _fits("finalize");
    }

    function _fits(string memory step) private {
        uint256 gas = vm.lastCallGas().gasTotalUsed;
        emit log_named_uint(step, gas);
        yes(string.concat(step, " takes ", vm.toString(gas)), gas <= MOST);
    }

    /// @dev In ascending order. Each on two Datanets of its own, all with owners of their own.
    function _adapters(uint256 num) private returns (bytes32[] memory ids) {
        ids = new bytes32[](num);
        for (uint256 a = 0; a < num; ++a) {
            bytes32[2] memory nets;
            for (uint256 d = 0; d < 2; ++d) {
                vm.prank(address(uint160(0xCC0000 + 16 * a + d)));
                nets[d] = datanets.create("n", address(uint160(0xDD0000 + 16 * a + d)), 100_001, "", 2);
            }
            if (nets[0] > nets[1]) (nets[0], nets[1]) = (nets[1], nets[0]);
            address owner = address(uint160(0xBB0000 + a));
            _fund(owner);
            bytes32 manifest = bytes32(uint256(1_000 + a));
            uint32[] memory weights = _weights(333_333, 666_667);
            vm.prank(owner);
            ids[a] = models.register(manifest, "base", "artifact", "index", _ids(nets[0], nets[1]), weights, 100_001);
            for (uint256 at = a; at > 0 && ids[at] < ids[at - 1]; --at) (ids[at], ids[at - 1]) = (ids[at - 1], ids[at]);
        }
    }
}
