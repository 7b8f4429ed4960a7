// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Datanets: their owners, their terms and their versions
/// @notice Terms are fixed at creation. The lists of versions and of withdrawn rows grow, and the owner can change the
/// description and the curators of later versions.
interface IDatanetRegistry {
    event DatanetCreated(
        bytes32 indexed id,
        address indexed owner,
        string name,
        address treasury,
        uint32 ownerPpm,
        string licence,
        uint32 rules
    );
    event DatanetDescribed(bytes32 indexed id, string metadata);
    event CuratorsChanged(bytes32 indexed id, address[] curators, uint32 need);
    event VersionApproved(bytes32 indexed id, uint32 indexed version, address[] curators);
    event DatanetVersion(bytes32 indexed id, uint32 indexed version, bytes32 rowsRoot, bytes32 contributorsRoot);
    event RowsWithdrawn(
        bytes32 indexed id, address indexed account, bool byOwner, uint64 effectiveAt, bytes32[] rows
    );
    event RowsCommitted(bytes32 indexed commitment, uint64 committedAt);
    event DatanetOwnerProposed(bytes32 indexed id, address indexed owner);
    event DatanetOwnerChanged(bytes32 indexed id, address indexed owner);

    error EmptyName();
    error ZeroTreasury();
    error BadOwnerPpm(uint32 ownerPpm, uint32 max);
    error BadRules(uint32 rules, uint32 known);
    error MetadataTooLong(uint256 length, uint256 max);
    error BadCurators(uint256 curators, uint32 need, uint256 max);
    error CuratorsNotAscending(address before, address curator);
    error NeedsApprovals(bytes32 id, uint32 version, uint32 need, uint256 approvals);
    error NotCurator(bytes32 id, address signer);
    error DatanetExists(bytes32 id);
    error UnknownDatanet(bytes32 id);
    error UnknownVersion(bytes32 id, uint32 version);
    error EmptyRoot();
    error RowsPublished(bytes32 rowsRoot, bytes32 holder);
    error NoRows();
    error NotContributor(bytes32 id, address account, address caller);
    error NotOwner(bytes32 id, address caller);
    error NotProposedOwner(bytes32 id, address caller);

    /// @notice Create a Datanet with `id` = keccak256(abi.encode(caller, name)). `ownerPpm` is the owner's part of each
    /// pot, at most 500,000. `rules` is the set of attribution rules that may divide its pots, with bit n for algoId n:
    /// suffix-v1 (1), poa-v3 (7) or both.
    function create(string calldata name, address treasury, uint32 ownerPpm, string calldata licence, uint32 rules)
        external
        returns (bytes32 id);

    /// @notice The same, and {describe} in one transaction.
    function createDescribed(
        string calldata name,
        address treasury,
        uint32 ownerPpm,
        string calldata licence,
        uint32 rules,
        string calldata metadata
    ) external returns (bytes32 id);

    /// @notice Emit a description of at most 4,096 bytes, which readers parse. The newest one counts.
    function describe(bytes32 id, string calldata metadata) external;

    /// @notice Require that `need` of `curators`, at most 16 and ascending, approve each version from now on. An empty
    /// list and 0 let the owner publish alone again.
    function setCurators(bytes32 id, address[] calldata curators, uint32 need) external;

    /// @notice Publish the next version of a Datanet without curators. Versions count from 1 and never change. Rows
    /// belong to the Datanet that first published them, which can publish them again, for example with corrected
    /// contributors.
    function publish(bytes32 id, bytes32 rowsRoot, bytes32 contributorsRoot) external returns (uint32 version);

    /// @notice Publish the next version with EIP-712 signatures of curators over ApproveVersion(bytes32
    /// datanetId,uint32 version,bytes32 rowsRoot,bytes32 contributorsRoot), ascending by signer.
    function publishApproved(bytes32 id, bytes32 rowsRoot, bytes32 contributorsRoot, bytes[] calldata approvals)
        external
        returns (uint32 version);

    /// @notice Withdraw rows of `account`, named by their digests, for good. Callable by the account, by the Datanet's
    /// owner, and by anyone with the account's EIP-712 signature over WithdrawRows(bytes32 datanetId,address
    /// account,bytes32[] rows), which needs no nonce because a second withdrawal changes nothing. The contract doesn't
    /// know the rows of a version, so readers ignore digests that the version doesn't list under `account`. Receipts
    /// issued from `effectiveAt` on, two epochs later, pay the treasury for rows that their account has withdrawn. Rows
    /// withdrawn by the owner alone (`byOwner`) leave later versions, but stay paid: the owner may be the treasury.
    function withdrawRows(bytes32 id, address account, bytes32[] calldata rows, bytes calldata signature) external;

    /// @notice Keep the time of a commitment to rows that nobody has seen yet. Only the first call counts, from whatever
    /// account: the commitment names the account and the Datanet, and only the account's signed offer reveals it.
    function commit(bytes32 commitment) external;

    /// @notice Offer the Datanet to `owner`, who has to accept it. Owner 0 cancels an offer.
    function transferOwnership(bytes32 id, address owner) external;

    /// @notice Become the owner of a Datanet that was offered to the caller.
    function acceptOwnership(bytes32 id) external;

    /// @notice A Datanet's owner, terms and newest version (0: none yet). Reverts if there is no such Datanet.
    function datanetOf(bytes32 id)
        external
        view
        returns (address owner, address treasury, uint32 ownerPpm, uint32 version);

    /// @notice The roots of a published version. Reverts if there is no such version.
    function versionOf(bytes32 id, uint32 version) external view returns (bytes32 rowsRoot, bytes32 contributorsRoot);

    /// @notice The Datanet that first published these rows, or 0.
    function holderOf(bytes32 rowsRoot) external view returns (bytes32 id);

    /// @notice The time of the block in which a commitment was first sent, or 0.
    function committedAt(bytes32 commitment) external view returns (uint64 time);

    /// @notice The part of {datanetOf} that a claim needs.
    function ownerTermsOf(bytes32 id) external view returns (address owner, uint32 ownerPpm);

    /// @notice The accounts that approve versions, and the number of approvals that a version needs. Without curators,
    /// and for an unknown Datanet, an empty list and 0.
    function curatorsOf(bytes32 id) external view returns (address[] memory curators, uint32 need);

    /// @notice The attribution rules that a Datanet allows, with bit n for algoId n. They never change.
    function rulesOf(bytes32 id) external view returns (uint32 rules);
}
