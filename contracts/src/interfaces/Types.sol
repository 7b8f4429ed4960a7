// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

// All shares are in parts per million of this.
uint256 constant PPM = 1_000_000;

/// @notice The terms of a channel. Their EIP-712 digest is the channel's id, so the chain does not have to store them.
struct ChannelConfig {
    address payer;
    address authorizer;
    address node;
    uint64 withdrawDelay;
    bytes32 salt;
}

/// @notice The amount of an item that was earned with `adapters[adapter]` of its claim.
struct Part {
    uint16 adapter;
    uint128 amount;
}

/// @notice One channel in a claim: the amount charged in (from, to], under a voucher up to `maxClaimable`.
struct Item {
    ChannelConfig config;
    uint128 maxClaimable;
    bytes signature;
    uint128 from;
    uint128 to;
    Part[] parts;
}

/// @notice A node's claim, as it signs it. `itemsHash` = keccak256(abi.encode(adapters, items)).
struct EpochClaim {
    address node;
    uint64 seq;
    uint64 epoch;
    bytes32 itemsHash;
    bytes32 receiptsRoot;
    uint32 count;
}

/// @notice The amount that an owner of an adapter or of a Datanet gets out of a claim.
struct Credit {
    address account;
    uint128 amount;
}

/// @notice The amount for the contributors of a Datanet. `gross` is the adapter's whole gross in this claim.
struct Pot {
    bytes32 adapterId;
    bytes32 datanetId;
    uint128 gross;
    uint128 amount;
}

/// @notice A claim after the chain has computed it. Only its hash is stored. Bit i of `skipped` stands for item i.
struct ClaimRecord {
    address node;
    uint64 seq;
    uint64 epoch;
    uint64 claimedAt;
    bytes32 itemsHash;
    bytes32 receiptsRoot;
    uint32 count;
    uint256 skipped;
    uint128 gross;
    uint128 protocol;
    uint128 stakers;
    uint128 nodeShare;
    Credit[] credits;
    Pot[] pots;
}

/// @notice An entry of a payout list: `weight` of the 1,000,000 · gross of `pots[pot]`. Account 0 is the Datanet's
/// treasury.
struct Payout {
    uint16 pot;
    address account;
    uint256 weight;
}

/// @notice A withdrawal that its account has signed and that anybody can send.
struct ClaimFor {
    address account;
    address to;
    uint128 amount;
    uint256 nonce;
    uint64 deadline;
}

/// @notice The facts that a receipt states about the work. They are evidence only: no contract here reads them yet.
struct Work {
    bytes32 requestId;
    bytes32 profileHash;
    bytes32 indexRoot;
    uint32 tokensIn;
    uint32 tokensOut;
    bytes32 promptCommit;
    bytes32 outputCommit;
    bytes32 retrievalHash;
    bytes32 fingerprint;
}

/// @notice The statement that a node signs for each piece of work, and that the payer's authorizer countersigns.
struct Receipt {
    bytes32 channelId;
    uint64 seq;
    bytes32 adapterId;
    uint128 amount;
    uint128 cumulative;
    uint32 algoId;
    uint32 flags;
    bytes32 nonceCommit;
    bytes32 sharesHash;
    Work work;
}

/// @notice A contributor's part of one receipt within one Datanet.
struct Share {
    bytes32 datanetId;
    address account;
    uint32 ppm;
}
