// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Who keeps a Datanet, and which rows and contributors it has
/// @notice Terms are fixed at creation; what grows is the list of versions.
interface IDatanetRegistry {
    event DatanetCreated(
        bytes32 indexed id, address indexed owner, string name, address treasury, uint32 ownerPpm, string licence
    );
    event DatanetVersion(bytes32 indexed id, uint32 indexed version, bytes32 rowsRoot, bytes32 contributorsRoot);
    event DatanetOwnerProposed(bytes32 indexed id, address indexed owner);
    event DatanetOwnerChanged(bytes32 indexed id, address indexed owner);

    error EmptyName();
    error ZeroTreasury();
    error BadOwnerPpm(uint32 ownerPpm);
    error DatanetExists(bytes32 id);
    error UnknownDatanet(bytes32 id);
    error UnknownVersion(bytes32 id, uint32 version);
    error EmptyRoot();
    error NotOwner(bytes32 id, address caller);
    error NotProposedOwner(bytes32 id, address caller);

    /// @notice Found a Datanet; `id` = keccak256(abi.encode(caller, name)). `ownerPpm` is the owner's part of each pot.
    function create(string calldata name, address treasury, uint32 ownerPpm, string calldata licence)
        external
        returns (bytes32 id);

    /// @notice Publish the next version; versions count from 1 and never change.
    function publish(bytes32 id, bytes32 rowsRoot, bytes32 contributorsRoot) external returns (uint32 version);

    /// @notice Offer the Datanet to `owner`, who has to accept it; 0 takes an offer back.
    function transferOwnership(bytes32 id, address owner) external;

    function acceptOwnership(bytes32 id) external;

    function datanetOf(bytes32 id)
        external
        view
        returns (address owner, address treasury, uint32 ownerPpm, uint32 version);

    function versionOf(bytes32 id, uint32 version) external view returns (bytes32 rowsRoot, bytes32 contributorsRoot);

    /// @notice What a claim needs of a Datanet.
    function ownerTermsOf(bytes32 id) external view returns (address owner, uint32 ownerPpm);
}
