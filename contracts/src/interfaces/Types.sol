// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

// All shares are in parts per million of this.
uint256 constant PPM = 1_000_000;

// The account of a payout list that stands for the protocol. It is the largest, so it is the last of its pot.
address constant NOBODY = address(type(uint160).max);

/// @notice The terms of a channel. Their EIP-712 digest is the channel's id, so the chain does not have to store them.
struct ChannelConfig {
    address payer;
    address authorizer;
    address node;
    uint64 withdrawDelay;
    bytes32 salt;
}

/// @notice One lane of a channel in a claim: the amount charged in (from, to] for work with `adapters[adapter]`, under
/// a voucher for that adapter up to `maxClaimable`. Items ascend by adapter.
struct Item {
    ChannelConfig config;
    uint16 adapter;
    uint128 maxClaimable;
    uint128 from;
    uint128 to;
    bytes signature;
}

/// @notice A node's claim, as it signs it. `itemsHash` = keccak256 of the items' leaves, in order.
struct EpochClaim {
    address node;
    uint64 seq;
    uint64 epoch;
    bytes32 itemsHash;
}

/// @notice The amount that an owner of an adapter or of a Datanet gets out of a claim.
struct Credit {
    address account;
    uint128 amount;
}

/// @notice The amount for the contributors of a Datanet. `gross` is the adapter's whole gross in this claim. `start` is
/// the place on the claim's line, all amounts of its items end to end, where the adapter's gross begins.
struct Pot {
    uint128 start;
    bytes32 adapterId;
    bytes32 datanetId;
    uint128 gross;
    uint128 amount;
}

/// @notice A claim after the chain has computed it. Only its hash is stored. `itemsRoot` is the root of a {SumTree}
/// over the items, in which a skipped item has the amount 0.
struct ClaimRecord {
    address node;
    uint64 seq;
    uint64 epoch;
    uint64 claimedAt;
    uint64 claimedBlock;
    bytes32 itemsRoot;
    uint128 gross;
    uint128 protocol;
    uint128 nodeShare;
    Credit[] credits;
    Pot[] pots;
}

/// @notice An entry of a payout list: `weight` of the 1,000,000 · gross of `pots[pot]`. Account 0 is the Datanet's
/// treasury, and account {NOBODY} is the protocol, for work whose receipt no payer countersigned.
struct Payout {
    uint16 pot;
    address account;
    uint256 weight;
}

/// @notice A proof of a {SumTree}: the leaf's number, and on each level, from the leaf up, the other child and its sum.
struct SumProof {
    uint256 index;
    bytes32[] siblings;
    uint128[] sums;
}

/// @notice A countersigned receipt that shows a drawn point of a payout list, with its two places on the claim's line.
/// `authorizer`, `from` and `to` are those of the item that claimed it. In the node's tree of receipts, `offsets[i]` is
/// where the part of `shares[i]` begins in its account's entry of the list. The point lies in the part of
/// `shares[share]`.
struct Opening {
    address authorizer;
    uint128 from;
    uint128 to;
    SumProof item;
    bytes32 channelId;
    uint64 seq;
    uint64 issuedAt;
    uint128 amount;
    uint128 cumulative;
    uint32 algoId;
    bytes32 workHash;
    Share[] shares;
    bytes countersignature;
    uint256[] offsets;
    SumProof receipt;
    uint256 share;
}

/// @notice A contributor's part of one receipt within one Datanet.
struct Share {
    bytes32 datanetId;
    address account;
    uint32 ppm;
}
