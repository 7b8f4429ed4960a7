// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice An adapter as it was registered. `retiredAt` 0 = not retired; `bond` 0 = taken back.
struct Adapter {
    address owner;
    uint32 royaltyPpm;
    uint64 retiredAt;
    uint128 bond;
    bytes32 baseDigest;
    bytes32 artifactDigest;
    bytes32 indexRoot;
    bytes32[] datanetIds;
    uint32[] weightsPpm;
}

/// @notice What a claim needs of an adapter.
struct Terms {
    address owner;
    uint32 royaltyPpm;
    bytes32[] datanetIds;
    uint32[] weightsPpm;
}

/// @notice An ERC-2612 permit by the caller, for the bond.
struct Permit {
    uint256 deadline;
    uint8 v;
    bytes32 r;
    bytes32 s;
}

/// @title Which adapters exist, and on whose data they stand
/// @notice An id is immutable: a new version is a new id. A retired adapter can still be claimed for, else its owner could
/// void what nodes have earned with it.
interface IModelRegistry {
    event AdapterRegistered(bytes32 indexed adapterId, address indexed owner, Adapter adapter);
    event AdapterRetired(bytes32 indexed adapterId, uint64 reclaimableAt);
    event BondReclaimed(bytes32 indexed adapterId, address indexed owner, uint128 amount);

    error ZeroAdapterId();
    error AdapterExists(bytes32 adapterId);
    error UnknownAdapter(bytes32 adapterId);
    error TooManyDatanets(uint256 count, uint256 max);
    error LengthMismatch(uint256 datanets, uint256 weights);
    error DatanetsNotAscending(bytes32 datanetId);
    error ZeroWeight(bytes32 datanetId);
    error BadWeights(uint256 sum);
    error BadRoyalty(uint32 royaltyPpm, uint32 max);
    error NotAdapterOwner(bytes32 adapterId, address caller);
    error AlreadyRetired(bytes32 adapterId);
    error NotRetired(bytes32 adapterId);
    error BondLocked(uint64 until);
    error NoBond(bytes32 adapterId);

    /// @notice Register an adapter and put up its bond. Datanets ascend, at most 8, and their weights sum to 1,000,000.
    function register(
        bytes32 adapterId,
        bytes32 baseDigest,
        bytes32 artifactDigest,
        bytes32 indexRoot,
        bytes32[] calldata datanetIds,
        uint32[] calldata weightsPpm,
        uint32 royaltyPpm
    ) external;

    function registerWithPermit(
        bytes32 adapterId,
        bytes32 baseDigest,
        bytes32 artifactDigest,
        bytes32 indexRoot,
        bytes32[] calldata datanetIds,
        uint32[] calldata weightsPpm,
        uint32 royaltyPpm,
        Permit calldata permit
    ) external;

    /// @notice Say that an adapter is no longer offered; its bond is free after UNBONDING.
    function retire(bytes32 adapterId) external;

    function reclaimBond(bytes32 adapterId) external;

    function adapterOf(bytes32 adapterId) external view returns (Adapter memory);

    /// @notice The part of it that a claim needs, for less gas.
    function termsOf(bytes32 adapterId) external view returns (Terms memory);

    /// @notice bondsIn − bondsOut is what this contract holds.
    function totals() external view returns (uint128 bondsIn, uint128 bondsOut);
}
