// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice Values that governance may change, from an epoch on. The contracts use those up to `draws`. The
/// others are defaults of every node: the attribution algorithm, the tokens of a chunk that may be unpaid, the least
/// context that a node should offer, and a guide to the price of 1,000 answer tokens.
struct Values {
    uint32 protocolPpm;
    uint32 dataPpm;
    uint128 minStake;
    uint128 minDeposit;
    uint128 adapterBond;
    uint32 draws;
    uint32 algoId;
    uint32 creditTokensMax;
    uint32 leastContext;
    uint128 guidePrice;
}

/// @notice The part of the values that a claim needs.
struct ClaimTerms {
    uint32 protocolPpm;
    uint32 dataPpm;
    uint128 minStake;
}

/// @notice Limits for governance. The maxima of the three shares leave the node at least half of what Datanets can get.
struct Bounds {
    uint32 protocolPpmMax;
    uint32 dataPpmMin;
    uint32 dataPpmMax;
    uint32 royaltyPpmMax;
    uint32 creditTokensMax;
    uint32 leastContextMax;
    uint128 guidePriceMax;
    uint128 minStakeMin;
    uint128 minStakeMax;
    uint128 minDepositMin;
    uint128 minDepositMax;
    uint128 adapterBondMin;
    uint128 adapterBondMax;
}

/// @notice The network's times in seconds, and `redrawBlocks` in blocks. Nobody can change them.
struct Windows {
    uint64 epoch;
    uint64 propose;
    uint64 window;
    uint64 redrawBlocks;
    uint64 slashGap;
    uint64 unbonding;
    uint64 withdrawDelayMin;
    uint64 withdrawDelayMax;
    uint64 withdrawPeriod;
}

/// @title The numbers that everybody must agree on
/// @notice A change is active two epochs later at the earliest, so no claim is computed by numbers that were unknown
/// when the work was done. The two shares change rarely and in small steps, so that no node gains by claiming earlier
/// or later. So do the minima, each by itself, so that no vote shuts out those who meet them today.
interface IParams {
    event ParamsQueued(uint64 indexed fromEpoch, Values values);

    error NotGovernor(address caller);
    error OutOfBounds(string what, uint256 value, uint256 min, uint256 max);
    error UnknownAlgorithm(uint32 algoId);
    /// @dev A claim's fee for a draw that lapsed is half of its pots, and the node's share pays it.
    error LapseFeeNotCovered(uint256 nodePpm, uint256 needed);
    /// @dev A share moves by at most a quarter of itself, or by 10,000 ppm if that is more.
    error ShareStep(string what, uint256 value, uint256 before, uint256 stepMax);
    /// @dev The shares changed in one of the 14 epochs before `fromEpoch`.
    error SharesTooSoon(uint64 fromEpoch);
    /// @dev A minimum at most doubles or halves, and only up to 1 OPEN it moves freely.
    error MinimumStep(string what, uint256 value, uint256 before);
    /// @dev This minimum changed in one of the 14 epochs before `fromEpoch`.
    error MinimumTooSoon(string what, uint64 fromEpoch);

    /// @notice Queue new values, which hold from the epoch after next. A second call in the same epoch replaces the
    /// first.
    function set(Values calldata values) external;

    /// @notice The values by which the claims of an epoch are computed.
    function valuesAt(uint64 epoch) external view returns (Values memory);

    /// @notice The part of {valuesAt} that a claim needs, for less gas.
    function claimTermsAt(uint64 epoch) external view returns (ClaimTerms memory);

    /// @notice The number of points that are drawn of the payout list of a claim of this epoch.
    function drawsAt(uint64 epoch) external view returns (uint256);

    /// @notice The network's times.
    function windows() external view returns (Windows memory);

    /// @notice The limits for governance.
    function bounds() external view returns (Bounds memory);

    /// @notice The epoch at a time in seconds.
    function epochAt(uint64 timestamp) external view returns (uint64);

    /// @notice The only account that can call {set}.
    function governor() external view returns (address);
}
