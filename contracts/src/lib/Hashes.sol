// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ChannelConfig, ClaimFor, EpochClaim, Receipt, Work} from "../interfaces/Types.sol";

/// @title EIP-712 struct hashes of everything that is signed
library Hashes {
    bytes32 internal constant CHANNEL_CONFIG = keccak256(
        "ChannelConfig(address payer,address authorizer,address node,uint64 withdrawDelay,bytes32 salt)"
    );
    bytes32 internal constant VOUCHER = keccak256("Voucher(bytes32 channelId,uint128 maxClaimable)");
    bytes32 internal constant EPOCH_CLAIM = keccak256(
        "EpochClaim(address node,uint64 seq,uint64 epoch,bytes32 itemsHash,bytes32 receiptsRoot,uint32 count)"
    );
    bytes32 internal constant REFUND = keccak256("Refund(bytes32 channelId,uint128 amount,uint256 nonce)");
    bytes32 internal constant PROPOSAL = keccak256(
        "Proposal(address node,uint64 seq,bytes32 attributionRoot,uint32 leafCount,bytes32 payoutsHash)"
    );
    bytes32 internal constant CLAIM_FOR = keccak256(
        "ClaimFor(address account,address to,uint128 amount,uint256 nonce,uint64 deadline)"
    );
    bytes32 internal constant WORK = keccak256(
        "Work(bytes32 requestId,bytes32 profileHash,bytes32 indexRoot,uint32 tokensIn,uint32 tokensOut,bytes32 promptCommit,bytes32 outputCommit,bytes32 retrievalHash,bytes32 fingerprint)"
    );
    bytes32 internal constant RECEIPT = keccak256(
        "Receipt(bytes32 channelId,uint64 seq,bytes32 adapterId,uint128 amount,uint128 cumulative,uint32 algoId,uint32 flags,bytes32 nonceCommit,bytes32 sharesHash,Work work)Work(bytes32 requestId,bytes32 profileHash,bytes32 indexRoot,uint32 tokensIn,uint32 tokensOut,bytes32 promptCommit,bytes32 outputCommit,bytes32 retrievalHash,bytes32 fingerprint)"
    );

    // Every member of these structs is one static word, so a struct hash is the hash of the type hash and the ABI encoding.

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

    function ofVoucher(bytes32 channelId, uint128 maxClaimable) internal pure returns (bytes32) {
        return keccak256(abi.encode(VOUCHER, channelId, maxClaimable));
    }

    function ofEpochClaim(EpochClaim calldata epochClaim) internal pure returns (bytes32) {
        return keccak256(abi.encode(EPOCH_CLAIM, epochClaim));
    }

    function ofRefund(bytes32 channelId, uint128 amount, uint256 nonce) internal pure returns (bytes32) {
        return keccak256(abi.encode(REFUND, channelId, amount, nonce));
    }

    function ofProposal(address node, uint64 seq, bytes32 attributionRoot, uint32 leafCount, bytes32 payoutsHash)
        internal
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(PROPOSAL, node, seq, attributionRoot, leafCount, payoutsHash));
    }

    function ofClaimFor(ClaimFor calldata claim) internal pure returns (bytes32) {
        return keccak256(abi.encode(CLAIM_FOR, claim));
    }

    function ofWork(Work memory work) internal pure returns (bytes32) {
        return keccak256(abi.encode(WORK, work));
    }

    function ofReceipt(Receipt memory receipt) internal pure returns (bytes32) {
        return keccak256(
            abi.encode(
                RECEIPT,
                receipt.channelId,
                receipt.seq,
                receipt.adapterId,
                receipt.amount,
                receipt.cumulative,
                receipt.algoId,
                receipt.flags,
                receipt.nonceCommit,
                receipt.sharesHash,
                ofWork(receipt.work)
            )
        );
    }
}
