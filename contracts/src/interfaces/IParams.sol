// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice Values that governance may change, from an epoch on.
struct Values {
    uint32 protocolPpm;
    uint32 stakersPpm;
    uint32 dataPpm;
    uint32 algoId;
    uint128 minStake;
    uint128 minDeposit;
    uint128 adapterBond;
    uint32 creditTokensMax;
}

/// @notice The part of the values that a claim needs.
struct ClaimTerms {
    uint32 protocolPpm;
    uint32 stakersPpm;
    uint32 dataPpm;
    uint128 minStake;
}

/// @notice Limits for governance. The maxima of the four shares sum to less than 1,000,000, so the node always gets
/// something.
struct Bounds {
    uint32 protocolPpmMax;
    uint32 stakersPpmMax;
    uint32 dataPpmMax;
    uint32 royaltyPpmMax;
    uint32 creditTokensMax;
    uint128 minStakeMin;
    uint128 minStakeMax;
    uint128 minDepositMin;
    uint128 minDepositMax;
    uint128 adapterBondMin;
    uint128 adapterBondMax;
}

/// @notice The network's times in seconds. Nobody can change them.
struct Windows {
    uint64 epoch;
    uint64 propose;
    uint64 window;
    uint64 response;
    uint64 pauseMax;
    uint64 unbonding;
    uint64 withdrawDelayMin;
    uint64 withdrawDelayMax;
    uint64 withdrawPeriod;
}

/// @title The numbers that everybody must agree on
/// @notice A change is active two epochs later at the earliest, so no claim is computed by numbers that were unknown
/// when the work was done.
interface IParams {
    event ParamsQueued(uint64 indexed fromEpoch, Values values);

    error NotGovernor(address caller);
    error OutOfBounds(string what, uint256 value, uint256 min, uint256 max);
    error UnknownAlgorithm(uint32 algoId);
    /// @dev An unbonding node must stay within reach until everything it claimed is final.
    error UnbondingTooShort(uint256 unbonding, uint256 needed);

    /// @notice Queue new values, which hold from the epoch after next. A second call in the same epoch replaces the
    /// first.
    function set(Values calldata values) external;

    /// @notice The values by which the claims of an epoch are computed.
    function valuesAt(uint64 epoch) external view returns (Values memory);

    /// @notice The part of {valuesAt} that a claim needs, for less gas.
    function claimTermsAt(uint64 epoch) external view returns (ClaimTerms memory);

    /// @notice The network's times.
    function windows() external view returns (Windows memory);

    /// @notice The limits for governance.
    function bounds() external view returns (Bounds memory);

    /// @notice The epoch at a time in seconds.
    function epochAt(uint64 timestamp) external view returns (uint64);

    /// @notice The only account that can call {set}.
    function governor() external view returns (address);
}
