// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ChannelConfig, ClaimRecord, EpochClaim, Item} from "./Types.sol";

/// @title Deposits of payers, and claims of nodes on them
/// @notice One-way channels with cumulative vouchers. A voucher names the adapter that it pays for, so a channel has a
/// lane for each adapter, and one for the base model alone (adapter 0). All lanes share the channel's deposit. A claim
/// moves no token. It records who is owed what, and the tokens leave when AttributionRewards makes the claim final.
interface IPaymentChannels {
    /// @notice The first reason to skip an item of a claim. The numbers are in {Skipped} and never change.
    enum SkipCode {
        None, // 0: the item counts; never emitted
        OtherNode, // 1: the channel belongs to another node
        NotFromClaimed, // 2: `from` is not the amount that was claimed before in this lane
        NothingNew, // 3: `to` is not above `from`
        OverVoucher, // 4: `to` is above the voucher
        OverDeposit, // 5: `to − from` is above what is left of the deposit
        BadVoucher // 6: the channel's authorizer did not sign the voucher, or not for this adapter
    }

    /// @notice `deposit` is everything that was put in less everything that went back. `claimed` only grows, up to
    /// `deposit`.
    struct Channel {
        uint128 deposit;
        uint128 claimed;
    }

    /// @notice A withdrawal that the payer has announced. It can be finished from `readyAt` on, in seconds.
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

    /// @notice A payer opened a channel.
    event ChannelOpened(
        bytes32 indexed channelId, address indexed payer, address indexed node, ChannelConfig config, uint128 amount
    );
    event ToppedUp(bytes32 indexed channelId, uint128 amount);
    event WithdrawStarted(bytes32 indexed channelId, uint128 amount, uint64 readyAt);
    event WithdrawFinished(bytes32 indexed channelId, uint128 amount);
    event Refunded(bytes32 indexed channelId, uint128 amount, uint256 nonce);
    /// @notice An item of a claim did not count.
    event Skipped(bytes32 indexed channelId, bytes32 adapterId, SkipCode code);
    /// @notice A claim was recorded. The chain stores only the hash of the record, and later calls ask for all of it.
    event Claimed(address indexed node, uint64 indexed seq, ClaimRecord record);
    event RolesWired(address rewards);
    /// @notice Nobody can pay in before `until`, which is not in the future if the stop was ended early.
    event DepositsStopped(uint64 until);
    event Released(address indexed node, uint64 indexed seq, uint128 gross);

    error NotGuardian(address caller);
    error BadDuration(uint64 duration, uint64 max);
    error StoppedBefore(uint64 until);
    error DepositsAreStopped(uint64 until);
    error NotStopped();
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
    error NothingClaimed();
    error ItemsNotAscending(uint256 index);
    error AdapterNotNamed(uint256 index, uint16 adapter);
    error TooMany(string what, uint256 count, uint256 max);
    error AdaptersNotAscending(bytes32 adapterId);
    error AdapterNotClaimable(bytes32 adapterId, uint64 since);
    error StakeTooSmall(uint128 bonded, uint128 min);
    error NotRewards(address caller);
    error UnknownClaim(address node, uint64 seq);

    /// @notice Open a channel with at least the minimum deposit, unless the guardian has stopped it. The tokens are
    /// taken from the caller, who must be the payer, so that nobody else can spend an allowance given to this contract.
    function open(ChannelConfig calldata config, uint128 amount) external returns (bytes32 id);

    /// @notice Like {open}, with a permit. A permit that fails because somebody sent it first does no harm: the
    /// allowance is there.
    function openWithPermit(
        ChannelConfig calldata config,
        uint128 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external returns (bytes32 id);

    /// @notice Add `amount` to the deposit of an open channel, unless the guardian has stopped it. Only its payer.
    function topUp(ChannelConfig calldata config, uint128 amount) external;

    /// @notice Like {topUp}, with a permit.
    function topUpWithPermit(
        ChannelConfig calldata config,
        uint128 amount,
        uint256 deadline,
        uint8 v,
        bytes32 r,
        bytes32 s
    ) external;

    /// @notice Announce that up to `amount` of what is left will leave after the channel's delay. A channel has one
    /// withdrawal at a time. If it was not finished within its period, the payer can start another.
    function startWithdraw(ChannelConfig calldata config, uint128 amount) external;

    /// @notice Pay the announced amount, or what is left of it, to the payer within the period after the delay.
    function finishWithdraw(ChannelConfig calldata config) external;

    /// @notice Return unused money to the payer at once. The node calls it, or anybody with the node's signature. A
    /// pending withdrawal shrinks by the same amount, so that it cannot be used on a later deposit.
    function refund(ChannelConfig calldata config, uint128 amount, uint256 nonce, bytes calldata signature) external;

    /// @notice Claim what vouchers cover: at most 256 items of at most 32 adapters. A bad item is skipped and does not
    /// stop the others, but at least one must count. An active signer of the node calls it, or anybody with such a
    /// signer's signature.
    function claim(
        EpochClaim calldata epochClaim,
        bytes32[] calldata adapters,
        Item[] calldata items,
        bytes calldata nodeSignature
    ) external;

    /// @notice Send the gross of a final claim to AttributionRewards, once. Only AttributionRewards can call it.
    function release(ClaimRecord calldata record) external;

    /// @notice Deposit and claimed amount of a channel; both are 0 if it was never opened.
    function channelOf(bytes32 channelId) external view returns (uint128 deposit, uint128 claimed);

    /// @notice The amount that was ever claimed in a lane. Over all lanes of a channel they sum to its `claimed`.
    function laneClaimed(bytes32 channelId, bytes32 adapterId) external view returns (uint128);

    /// @notice The announced withdrawal of a channel; both values are 0 if there is none.
    function withdrawalOf(bytes32 channelId) external view returns (uint128 amount, uint64 readyAt);

    /// @notice The nonce that the next refund of a channel must have.
    function refundNonceOf(bytes32 channelId) external view returns (uint256);

    /// @notice The number of the node's next claim. Numbers have no gaps.
    function nextSeq(address node) external view returns (uint64);

    /// @notice keccak256(abi.encode(record)) of a claim that is not final yet; 0 for any other.
    function claimOf(address node, uint64 seq) external view returns (bytes32);

    /// @notice The id of a channel: the EIP-712 digest of its config.
    function channelId(ChannelConfig calldata config) external view returns (bytes32);

    /// @notice The EIP-712 domain separator of vouchers, receipts, claims and refunds.
    function domainSeparator() external view returns (bytes32);

    /// @notice Stop {open} and {topUp} for `duration` seconds, at most 30 days. Only the guardian, once for ever.
    /// Channels that are open, claims, draws, payments, withdrawals and all time limits go on.
    function stopDeposits(uint64 duration) external;

    /// @notice End the stop early. Only the guardian, or the governor.
    function resumeDeposits() external;

    /// @notice The only account that can call {stopDeposits}. Nobody can change it.
    function guardian() external view returns (address);

    /// @notice The end of the stop in seconds; 0 if there was none.
    function stoppedUntil() external view returns (uint64);

    /// @notice Assign the only role: the AttributionRewards that can release claims. Only the deployer, once.
    function wire(address rewards) external;

    /// @notice Sums over all channels, from which anybody can check the contract's balance.
    function totals() external view returns (Totals memory);
}
