// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ChannelConfig, ClaimRecord, EpochClaim, Item} from "./Types.sol";

/// @title What payers have put up, and what nodes have claimed of it
/// @notice One-way channels with cumulative vouchers. A claim moves no token: it fixes who is owed what, and the tokens
/// leave when AttributionRewards makes the claim final.
interface IPaymentChannels {
    /// @notice `deposit` is all that was put in less all that went back; `claimed` only grows, and never above it.
    struct Channel {
        uint128 deposit;
        uint128 claimed;
    }

    struct Withdrawal {
        uint128 amount;
        uint64 readyAt;
    }

    /// @notice paidIn = refunded + withdrawn + escrowed + live + released, where escrowed = Σ (deposit − claimed).
    struct Totals {
        uint128 paidIn;
        uint128 refunded;
        uint128 withdrawn;
        uint128 escrowed;
        uint128 live;
        uint128 released;
    }

    event ChannelOpened(
        bytes32 indexed channelId, address indexed payer, address indexed node, ChannelConfig config, uint128 amount
    );
    event ToppedUp(bytes32 indexed channelId, uint128 amount);
    event WithdrawStarted(bytes32 indexed channelId, uint128 amount, uint64 readyAt);
    event WithdrawFinished(bytes32 indexed channelId, uint128 amount);
    event Refunded(bytes32 indexed channelId, uint128 amount, uint256 nonce);
    /// @param code Why: 1 another node's channel, 2 `from` is not what was claimed before, 3 `to` is not above `from`,
    /// 4 `to` is above the voucher, 5 `to` is above the deposit, 6 parts not strictly ascending, out of range or not
    /// summing to `to − from`, 7 the voucher is not signed by the channel's authorizer. The first that applies.
    event Skipped(bytes32 indexed channelId, uint8 code);
    event Claimed(address indexed node, uint64 indexed seq, ClaimRecord record);
    event Released(address indexed node, uint64 indexed seq, uint128 gross);

    error NotPayer(address payer, address caller);
    error ZeroAddress();
    error ZeroAmount();
    error BadWithdrawDelay(uint64 delay, uint64 min, uint64 max);
    error DepositTooSmall(uint128 amount, uint128 min);
    error ChannelExists(bytes32 channelId);
    error UnknownChannel(bytes32 channelId);
    error WithdrawalPending(bytes32 channelId, uint64 until);
    error NothingToWithdraw(bytes32 channelId);
    error WithdrawalNotReady(uint64 readyAt);
    error WithdrawalExpired(uint64 expiredAt);
    error BadRefundNonce(uint256 nonce, uint256 expected);
    error RefundTooLarge(uint128 amount, uint128 left);
    error NotSigner(address node, address signer);
    error BadEpoch(uint64 epoch, uint64 current);
    error BadSeq(uint64 seq, uint64 expected);
    error ItemsMismatch(bytes32 signed, bytes32 given);
    error NoItems();
    error TooMany(string what, uint256 count, uint256 max);
    error AdaptersNotAscending(bytes32 adapterId);
    error StakeTooSmall(uint128 bonded, uint128 min);
    error NotRewards(address caller);
    error UnknownClaim(address node, uint64 seq);

    /// @notice Open a channel with at least the minimum deposit. Pulls from the caller, who must be the payer: an allowance
    /// given to this contract is nobody else's to spend.
    function open(ChannelConfig calldata config, uint128 amount) external returns (bytes32 id);

    /// @notice The same with a permit. A permit that fails (somebody sent it first) does no harm if the allowance is there.
    function openWithPermit(
        ChannelConfig calldata config,
        uint128 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external returns (bytes32 id);

    function topUp(ChannelConfig calldata config, uint128 amount) external;

    function topUpWithPermit(
        ChannelConfig calldata config,
        uint128 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice Announce that up to `amount` of what is left will leave after the channel's delay. One at a time; one that
    /// was not finished in its period can be started anew.
    function startWithdraw(ChannelConfig calldata config, uint128 amount) external;

    /// @notice Take it, or what is left of it, within the period after the delay.
    function finishWithdraw(ChannelConfig calldata config) external;

    /// @notice Give a payer unused money back at once; by the node, or by anybody with its signature. Shrinks a pending
    /// withdrawal, so that one cannot stay armed for a later deposit.
    function refund(ChannelConfig calldata config, uint128 amount, uint256 nonce, bytes calldata signature) external;

    /// @notice Claim what vouchers cover. Bad items are skipped and do not stop the others. By an active signer of the
    /// node, or by anybody with its signature.
    function claim(
        EpochClaim calldata epochClaim,
        bytes32[] calldata adapters,
        Item[] calldata items,
        bytes calldata nodeSignature
    ) external;

    /// @notice Hand a final claim's gross to AttributionRewards, once. Only AttributionRewards.
    function release(ClaimRecord calldata record) external;

    function channelOf(bytes32 channelId) external view returns (uint128 deposit, uint128 claimed);

    function withdrawalOf(bytes32 channelId) external view returns (uint128 amount, uint64 readyAt);

    function refundNonceOf(bytes32 channelId) external view returns (uint256);

    function nextSeq(address node) external view returns (uint64);

    /// @notice keccak256(abi.encode(record)) of a claim that is not final yet, else 0.
    function claimOf(address node, uint64 seq) external view returns (bytes32);

    function channelId(ChannelConfig calldata config) external view returns (bytes32);

    function totals() external view returns (Totals memory);
}
