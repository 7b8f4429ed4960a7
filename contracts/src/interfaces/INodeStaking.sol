// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice Stake on its way out.
struct UnbondRequest {
    uint128 amount;
    uint64 readyAt;
}

/// @title What nodes have at stake, and who may sign for them
/// @notice A node is its cold wallet's address. `bonded` = what counts; every wei notified ends in somebody's rewards.
interface INodeStaking {
    /// @notice bondedIn + notified = bonded + unbonding + withdrawn + rewardsPaid + what nodes have accrued + fractions.
    struct Totals {
        uint128 bonded;
        uint128 unbonding;
        uint128 bondedIn;
        uint128 withdrawn;
        uint128 notified;
        uint128 rewardsPaid;
    }

    event Bonded(address indexed node, uint128 amount);
    event UnbondStarted(address indexed node, uint128 amount, uint64 readyAt);
    event StakeWithdrawn(address indexed node, uint128 amount);
    event SignerSet(address indexed node, address indexed signer);
    event SignerRevoked(address indexed node, address indexed signer, uint64 punishableUntil);
    event PayoutSet(address indexed node, address payout);
    event RewardsNotified(uint128 amount, uint256 accPerShare);
    event RewardsPaid(address indexed node, address to, uint128 amount);

    error ZeroAmount();
    error InsufficientBond(uint128 bonded, uint128 amount);
    error TooManyRequests(uint256 max);
    error NothingMatured(uint64 now_);
    error NothingAccrued(address node);
    error BadSigner(address signer);
    error NotASigner(address node, address key);
    error NobodyBonded();
    error NotRewards(address caller);

    /// @notice Put stake behind the caller's node.
    function bond(uint128 amount) external;

    /// @notice The same with a permit. A permit that fails (somebody sent it first) does no harm if the allowance is there.
    function bondWithPermit(uint128 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external;

    /// @notice Stop `amount` from counting; it can be withdrawn after UNBONDING. At most 16 requests at a time.
    function unbond(uint128 amount) external;

    /// @notice Pay out the caller's requests that are ripe.
    function withdraw() external;

    /// @notice Let a hot key sign and send for the caller's node.
    function setSigner(address signer) external;

    /// @notice Take a key's power at once; what it signed stays punishable for UNBONDING.
    function revokeSigner(address signer) external;

    /// @notice Where the node's earnings are credited; 0 is the node itself.
    function setPayout(address payout) external;

    /// @notice Pay the caller's share of the stakers' fee to its payout address.
    function claimStakerRewards() external;

    /// @notice Share out `amount`, which the caller has just sent, over what is bonded. Only AttributionRewards.
    function notify(uint128 amount) external;

    function nodeOf(address node)
        external
        view
        returns (uint128 bonded, uint128 unbonding, address payout, uint128 rewards);

    function bondedOf(address node) external view returns (uint128);

    function totalBonded() external view returns (uint128);

    /// @notice Whether `key` may sign for `node` now. A node's own key always may.
    function isSigner(address node, address key) external view returns (bool);

    /// @notice Until when a key's signatures can be held against the node: 0 never, the largest number while it is active.
    function signerUntil(address node, address key) external view returns (uint64);

    function payoutOf(address node) external view returns (address);

    function unbondRequests(address node) external view returns (UnbondRequest[] memory);

    function totals() external view returns (Totals memory);
}
