// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SumProof} from "../interfaces/Types.sol";

/// @title A binary tree in which each inner node hashes its children and their sums
/// @notice The leaves are amounts, end to end on a line. A proof shows a leaf and the place on the line where it
/// begins. Two leaves that both have a proof never overlap, whoever built the tree: below the node where their paths
/// part, each has a side of the line for itself. The hash of a leaf must not be that of an inner node, so callers tag
/// their leaves.
library SumTree {
    error BadProof();

    /// @notice Room for `count` leaves, filled up with zeros to a power of two.
    function room(uint256 count) internal pure returns (bytes32[] memory hashes, uint128[] memory sums) {
        uint256 width = 1;
        while (width < count) width <<= 1;
        return (new bytes32[](width), new uint128[](width));
    }

    /// @notice The root over leaves in arrays that {room} made. Overwrites both.
    function rootOf(bytes32[] memory hashes, uint128[] memory sums) internal pure returns (bytes32) {
        for (uint256 width = hashes.length >> 1; width > 0; width >>= 1) {
            for (uint256 i = 0; i < width; ++i) _join(hashes, sums, i);
        }
        return hashes[0];
    }

    /// @notice The place where a leaf begins: the sum of all leaves before it. Reverts if the leaf is not in the tree.
    function placeOf(bytes32 root, bytes32 leaf, uint128 sum, SumProof calldata proof)
        internal
        pure
        returns (uint128 place)
    {
        (bytes32[] calldata siblings, uint128[] calldata sums) = (proof.siblings, proof.sums);
        uint256 index = proof.index;
        // A number with more bits than the path has turns would be a second name of the same leaf.
        if (sums.length != siblings.length || index >> siblings.length != 0) revert BadProof();
        for (uint256 i = 0; i < siblings.length; ++i) {
            (bytes32 sibling, uint128 siblingSum) = (siblings[i], sums[i]);
            if (index & 1 == 0) {
                leaf = _node(leaf, sibling, sum, siblingSum);
            } else {
                leaf = _node(sibling, leaf, siblingSum, sum);
                place += siblingSum;
            }
            sum += siblingSum;
            index >>= 1;
        }
        if (leaf != root) revert BadProof();
    }

    /// @dev Write the parent of the nodes 2·i and 2·i + 1 to i. Without bounds checks, because a claim does it for each
    /// item: the caller keeps 2·i + 1 below the length, and the sum of all amounts below 2^128.
    function _join(bytes32[] memory hashes, uint128[] memory sums, uint256 i) private pure {
        assembly ("memory-safe") {
            let pair := add(add(hashes, 0x20), shl(6, i))
            let amounts := add(add(sums, 0x20), shl(6, i))
            let leftSum := mload(amounts)
            let rightSum := mload(add(amounts, 0x20))
            let at := mload(0x40)
            mstore(at, mload(pair))
            mstore(add(at, 0x20), mload(add(pair, 0x20)))
            mstore(add(at, 0x40), or(shl(128, leftSum), rightSum))
            mstore(add(add(hashes, 0x20), shl(5, i)), keccak256(at, 0x60))
            mstore(add(add(sums, 0x20), shl(5, i)), add(leftSum, rightSum))
        }
    }

    function _node(bytes32 left, bytes32 right, uint128 leftSum, uint128 rightSum) private pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            let at := mload(0x40)
            mstore(at, left)
            mstore(add(at, 0x20), right)
            mstore(add(at, 0x40), or(shl(128, leftSum), rightSum))
            hash := keccak256(at, 0x60)
        }
    }
}
