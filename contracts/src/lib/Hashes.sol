// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ChannelConfig, EpochClaim, Opening} from "../interfaces/Types.sol";

/// @title EIP-712 struct hashes of everything that is signed
library Hashes {
    bytes32 internal constant CHANNEL_CONFIG = keccak256(
        "ChannelConfig(address payer,address authorizer,address node,uint64 withdrawDelay,bytes32 salt)"
    );
    bytes32 internal constant VOUCHER = keccak256("Voucher(bytes32 channelId,bytes32 adapterId,uint128 maxClaimable)");
    bytes32 internal constant EPOCH_CLAIM = keccak256(
        "EpochClaim(address node,uint64 seq,uint64 epoch,bytes32 itemsHash)"
    );
    bytes32 internal constant REFUND = keccak256("Refund(bytes32 channelId,uint128 amount,uint256 nonce)");
    bytes32 internal constant SIGNER_CONSENT = keccak256("SignerConsent(address node,uint64 deadline)");
    bytes32 internal constant RECEIPT = keccak256(
        "Receipt(bytes32 channelId,uint64 seq,uint64 issuedAt,bytes32 adapterId,uint128 amount,uint128 cumulative,uint32 algoId,bytes32 sharesHash,Work work)Work(bytes32 requestId,bytes32 profileHash,bytes32 indexRoot,uint32 tokensIn,uint32 tokensOut,bytes32 promptCommit,bytes32 outputCommit,bytes32 retrievalHash,bytes32 signalsHash,bytes32 fingerprint)"
    );

    // Leaves start with a tag and are longer than the inner nodes of a {SumTree}, so neither passes for the other.
    bytes32 internal constant ITEM_LEAF = keccak256("openledger.item-leaf/1");
    bytes32 internal constant RECEIPT_LEAF = keccak256("openledger.receipt-leaf/2");

    // Every member of these structs is one static word, so a struct hash is the hash of the type hash and the ABI
    // encoding.

    /// @dev Equal to hashing abi.encode(kind, config), but cheaper, because a claim does it for each item. Fields are
    /// not checked for dirty upper bits: a config with such bits has a different id, and nobody can open a channel for
    /// it.
    function ofConfig(ChannelConfig calldata config) internal pure returns (bytes32 structHash) {
        bytes32 kind = CHANNEL_CONFIG;
        assembly ("memory-safe") {
            let at := mload(0x40)
            mstore(at, kind)
            calldatacopy(add(at, 0x20), config, 0xa0)
            structHash := keccak256(at, 0xc0)
        }
    }

    /// @dev Equal to hashing abi.encode(VOUCHER, channelId, adapterId, maxClaimable), but in memory that is used again.
    function ofVoucher(bytes32 channelId, bytes32 adapterId, uint128 maxClaimable)
        internal
        pure
        returns (bytes32 structHash)
    {
        bytes32 kind = VOUCHER;
        assembly ("memory-safe") {
            let at := mload(0x40)
            mstore(at, kind)
            mstore(add(at, 0x20), channelId)
            mstore(add(at, 0x40), adapterId)
            mstore(add(at, 0x60), maxClaimable)
            structHash := keccak256(at, 0x80)
        }
    }

    function ofEpochClaim(EpochClaim calldata epochClaim) internal pure returns (bytes32) {
        return keccak256(abi.encode(EPOCH_CLAIM, epochClaim));
    }

    function ofRefund(bytes32 channelId, uint128 amount, uint256 nonce) internal pure returns (bytes32) {
        return keccak256(abi.encode(REFUND, channelId, amount, nonce));
    }

    /// @dev The work of a drawn receipt is opened by its hash only.
    function ofReceipt(Opening calldata opening, bytes32 adapterId) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                RECEIPT,
                opening.channelId,
                opening.seq,
                opening.issuedAt,
                adapterId,
                opening.amount,
                opening.cumulative,
                opening.algoId,
                keccak256(abi.encode(opening.shares)),
                opening.workHash
            )
        );
    }

    function ofSignerConsent(address node, uint64 deadline) internal pure returns (bytes32) {
        return keccak256(abi.encode(SIGNER_CONSENT, node, deadline));
    }

    /// @dev The leaf of an item in the claim's tree, and in the hash that the node signs. Equal to hashing
    /// abi.encode(ITEM_LEAF, ...), but in memory that is used again.
    function ofItem(bytes32 channelId, bytes32 adapterId, address authorizer, uint128 from, uint128 to)
        internal
        pure
        returns (bytes32 leaf)
    {
        bytes32 tag = ITEM_LEAF;
        assembly ("memory-safe") {
            let at := mload(0x40)
            mstore(at, tag)
            mstore(add(at, 0x20), channelId)
            mstore(add(at, 0x40), adapterId)
            mstore(add(at, 0x60), authorizer)
            mstore(add(at, 0x80), from)
            mstore(add(at, 0xa0), to)
            leaf := keccak256(at, 0xc0)
        }
    }

    /// @dev The leaf of a receipt in the node's tree.
    function ofReceiptLeaf(bytes32 digest, uint256[] calldata offsets) internal pure returns (bytes32) {
        return keccak256(abi.encode(RECEIPT_LEAF, digest, offsets));
    }

    /// @dev keccak256 of the first `count` words.
    function ofWords(bytes32[] memory words, uint256 count) internal pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            hash := keccak256(add(words, 0x20), shl(5, count))
        }
    }
}
