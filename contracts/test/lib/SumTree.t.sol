// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SumProof} from "../../src/interfaces/Types.sol";
import {SumTree} from "../../src/lib/SumTree.sol";
import {Receipts} from "../support/Receipts.sol";
import {vm} from "../support/Vm.sol";

contract SumTreeTest is Receipts {
    /// @dev No world: trees are only numbers.
    function setUp() public override {}

    function placeOf(bytes32 root, bytes32 leaf, uint128 sum, SumProof calldata proof) external pure returns (uint128) {
        return SumTree.placeOf(root, leaf, sum, proof);
    }

    function rootOf(bytes32[] calldata leaves, uint128[] calldata amounts) external pure returns (bytes32) {
        (bytes32[] memory hashes, uint128[] memory sums) = SumTree.room(leaves.length);
        for (uint256 i = 0; i < leaves.length; ++i) (hashes[i], sums[i]) = (leaves[i], amounts[i]);
        return SumTree.rootOf(hashes, sums);
    }

    function _leaves(uint256 seed, uint256 count, uint256 width)
        private
        pure
        returns (bytes32[] memory hashes, uint128[] memory sums)
    {
        (hashes, sums) = (new bytes32[](width), new uint128[](width));
        for (uint256 i = 0; i < count; ++i) {
            hashes[i] = keccak256(abi.encode(seed, i));
            sums[i] = uint128(uint256(keccak256(abi.encode(seed, i, "sum"))) >> 140);
        }
    }

    function _widthOf(uint256 count) private pure returns (uint256 width) {
        width = 1;
        while (width < count) width *= 2;
    }

    function test_fuzz_a_leaf_begins_where_those_before_it_end(uint256 seed, uint256 count) public view {
        count = within(count, 1, 9);
        (bytes32[] memory hashes, uint128[] memory sums) = _leaves(seed, count, _widthOf(count));
        (bytes32[] memory some, uint128[] memory amounts) = _leaves(seed, count, count);
        bytes32 root = this.rootOf(some, amounts);
        uint128 place = 0;
        for (uint256 i = 0; i < count; ++i) {
            eq("place", this.placeOf(root, hashes[i], sums[i], _proofOf(hashes, sums, i)), place);
            place += sums[i];
        }
        eq("root", root, _fold(hashes, sums));
    }

    function test_nothing_is_a_tree_of_a_zero() public view {
        eq("root", this.rootOf(new bytes32[](0), new uint128[](0)), bytes32(0));
    }

    function test_fuzz_another_sum_or_leaf_or_place_is_refused(uint256 seed, uint256 index, uint128 other) public {
        (bytes32[] memory hashes, uint128[] memory sums) = _leaves(seed, 8, 8);
        index = within(index, 0, 7);
        SumProof memory proof = _proofOf(hashes, sums, index);
        bytes32 root = this.rootOf(hashes, sums);
        (bytes32 leaf, uint128 sum) = (hashes[index], sums[index]);
        uint128 changed = sum ^ uint128(within(other, 1, 2 ** 100));
        _refuses(SumTree.BadProof.selector);
        this.placeOf(root, leaf, changed, proof);
        _refuses(SumTree.BadProof.selector);
        this.placeOf(root, bytes32(uint256(leaf) ^ 1), sum, proof);
        for (uint256 i = 0; i < 16; ++i) {
            if (i == index) continue;
            proof.index = i;
            _refuses(SumTree.BadProof.selector);
            this.placeOf(root, leaf, sum, proof);
        }
    }

    /// @dev F: an inner node with a sum that its children do not have would let the places of two leaves overlap. Below
    /// it, no leaf has a proof.
    function test_below_a_false_sum_nothing_has_a_proof() public {
        (bytes32[] memory hashes, uint128[] memory sums) = _leaves(7, 4, 4);
        bytes32 left = keccak256(abi.encodePacked(hashes[0], hashes[1], sums[0], sums[1]));
        bytes32 right = keccak256(abi.encodePacked(hashes[2], hashes[3], sums[2], sums[3]));
        uint128 leftSum = sums[0] + sums[1];
        bytes32 root = keccak256(abi.encodePacked(left, right, leftSum - 5, sums[2] + sums[3]));
        SumProof memory proof = _proofOf(hashes, sums, 0);
        _refuses(SumTree.BadProof.selector);
        this.placeOf(root, hashes[0], sums[0], proof);
        proof = _proofOf(hashes, sums, 2);
        proof.sums[1] = leftSum - 5;
        eq("beside it", this.placeOf(root, hashes[2], sums[2], proof), leftSum - 5);
    }

    function test_sums_of_more_than_128_bits_are_refused() public {
        SumProof memory proof = SumProof({index: 1, siblings: new bytes32[](1), sums: new uint128[](1)});
        proof.sums[0] = type(uint128).max;
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x11));
        this.placeOf("root", "leaf", 1, proof);
    }
}
