// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice An adapter as it was registered. `retiredAt` is 0 until it is retired, and `bond` is 0 once it was taken
/// back.
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

/// @notice The part of an adapter that a claim needs. From `claimableUntil` on a retired adapter can't be claimed. It is
/// 0 for an adapter that is not retired.
struct Terms {
    address owner;
    uint32 royaltyPpm;
    uint64 claimableUntil;
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

/// @title Registered adapters, and the Datanets that they were trained on
/// @notice An adapter's id is the hash of its owner and its manifest, so nobody can register another's adapter under the
/// id that the manifest implies. An adapter never changes under its id, so a new version has a new id. Nodes can claim for
/// a retired adapter until its bond is free. Otherwise its owner could void what they have earned with it.
interface IModelRegistry {
    event AdapterRegistered(
        bytes32 indexed adapterId, bytes32 indexed manifestId, address indexed owner, Adapter adapter
    );
    event AdapterRetired(bytes32 indexed adapterId, uint64 reclaimableAt);
    event BondReclaimed(bytes32 indexed adapterId, address indexed owner, uint128 amount);

    error ZeroManifestId();
    error AdapterExists(bytes32 adapterId);
    error UnknownAdapter(bytes32 adapterId);
    error TooManyDatanets(uint256 count, uint256 max);
    error LengthMismatch(uint256 datanets, uint256 weights);
    error DatanetsNotAscending(bytes32 datanetId);
    error ZeroWeight(bytes32 datanetId);
    error BadWeights(uint256 sum);
    error NoIndex();
    error BadRoyalty(uint32 royaltyPpm, uint32 max);
    error NotAdapterOwner(bytes32 adapterId, address caller);
    error AlreadyRetired(bytes32 adapterId);
    error NotRetired(bytes32 adapterId);
    error BondLocked(uint64 until);
    error NoBond(bytes32 adapterId);

    /// @notice Register the adapter with `adapterId` = keccak256(abi.encode(caller, manifestId)) and deposit its bond.
    /// `manifestId` is the SHA-256 of its manifest. It names at most 8 Datanets in ascending order, whose weights sum to
    /// 1,000,000. One that names Datanets has an attribution index.
    function register(
        bytes32 manifestId,
        bytes32 baseDigest,
        bytes32 artifactDigest,
        bytes32 indexRoot,
        bytes32[] calldata datanetIds,
        uint32[] calldata weightsPpm,
        uint32 royaltyPpm
    ) external returns (bytes32 adapterId);

    /// @notice Like {register}, with a permit for the bond.
    function registerWithPermit(
        bytes32 manifestId,
        bytes32 baseDigest,
        bytes32 artifactDigest,
        bytes32 indexRoot,
        bytes32[] calldata datanetIds,
        uint32[] calldata weightsPpm,
        uint32 royaltyPpm,
        Permit calldata permit
    ) external returns (bytes32 adapterId);

    /// @notice Declare that an adapter is no longer offered. After the unbonding time its bond is free, and no claim can
    /// name it any more.
    function retire(bytes32 adapterId) external;

    /// @notice Return the bond of a retired adapter to its owner, once, after the unbonding time.
    function reclaimBond(bytes32 adapterId) external;

    /// @notice An adapter as it was registered. Reverts if there is no such adapter.
    function adapterOf(bytes32 adapterId) external view returns (Adapter memory);

    /// @notice The part of {adapterOf} that a claim needs, for less gas.
    function termsOf(bytes32 adapterId) external view returns (Terms memory);

    /// @notice All bonds that came in and that went out. bondsIn − bondsOut is what this contract holds.
    function totals() external view returns (uint128 bondsIn, uint128 bondsOut);
}
