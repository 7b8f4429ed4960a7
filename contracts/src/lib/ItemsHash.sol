// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Item} from "../interfaces/Types.sol";

/// @title keccak256(abi.encode(adapters, items)), mostly without encoding
/// @notice Encoding the items again would be the most expensive step of a claim that touches no storage. The caller has
/// already encoded them, nearly always as abi.encode would. If no bit differs, the calldata is hashed as it is.
library ItemsHash {
    function hashOf(bytes32[] calldata adapters, Item[] calldata items) internal pure returns (bytes32 hash) {
        (uint256 size, bool isCanonical) = _sizeOf(items);
        if (!isCanonical) return keccak256(abi.encode(adapters, items));
        assembly ("memory-safe") {
            let start := mload(0x40)
            let width := mul(adapters.length, 0x20)
            let at := add(add(start, 0x60), width)
            mstore(start, 0x40)
            mstore(add(start, 0x20), add(0x60, width))
            mstore(add(start, 0x40), adapters.length)
            calldatacopy(add(start, 0x60), adapters.offset, width)
            mstore(at, items.length)
            calldatacopy(add(at, 0x20), items.offset, size)
            hash := keccak256(start, sub(add(add(at, 0x20), size), start))
        }
    }

    /// @dev The number of bytes that abi.encode writes for the items after their count, and true if the calldata is the
    /// same: each part at its place, signatures of 65 bytes, and zero in all bits that a type leaves empty (`dirt`
    /// collects others).
    function _sizeOf(Item[] calldata items) private pure returns (uint256 size, bool isCanonical) {
        assembly ("memory-safe") {
            let dirt := 0
            size := shl(5, items.length)
            for { let i := 0 } lt(i, items.length) { i := add(i, 1) } {
                let item := add(items.offset, size)
                dirt := or(dirt, xor(calldataload(add(items.offset, shl(5, i))), size))
                // payer, authorizer, node; withdrawDelay; maxClaimable, from, to
                let wide := or(or(calldataload(item), calldataload(add(item, 0x20))), calldataload(add(item, 0x40)))
                let long := or(or(calldataload(add(item, 0xa0)), calldataload(add(item, 0xe0))), calldataload(add(item, 0x100)))
                dirt := or(dirt, or(or(shr(160, wide), shr(64, calldataload(add(item, 0x60)))), shr(128, long)))
                // offset of the signature, its length and the padding of its last word; offset of the parts
                dirt := or(dirt, or(xor(calldataload(add(item, 0xc0)), 0x140), xor(calldataload(add(item, 0x140)), 65)))
                dirt := or(dirt, or(shl(8, calldataload(add(item, 0x1a0))), xor(calldataload(add(item, 0x120)), 0x1c0)))
                let numParts := calldataload(add(item, 0x1c0))
                let part := add(item, 0x1e0)
                let end := add(part, shl(6, numParts))
                dirt := or(dirt, or(shr(32, numParts), gt(end, calldatasize())))
                if dirt { break } // the next offsets cannot be trusted
                for {} lt(part, end) { part := add(part, 0x40) } {
                    dirt := or(dirt, or(shr(16, calldataload(part)), shr(128, calldataload(add(part, 0x20)))))
                }
                size := sub(end, items.offset)
            }
            isCanonical := iszero(dirt)
        }
    }
}
