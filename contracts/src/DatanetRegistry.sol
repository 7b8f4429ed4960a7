// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {IDatanetRegistry} from "./interfaces/IDatanetRegistry.sol";
import {IParams} from "./interfaces/IParams.sol";
import {Signatures} from "./lib/Signatures.sol";

/// @dev See {IDatanetRegistry}.
contract DatanetRegistry is IDatanetRegistry, EIP712 {
    uint32 private constant OWNER_PPM_MAX = 500_000;
    /// @dev suffix-v1 (1) and poa-v3 (7), a bit each. The other rules of {IParams} pay for numbers of rows or accounts.
    uint32 private constant RULES = 1 << 1 | 1 << 7;
    uint64 private constant NOTICE_EPOCHS = 2;
    uint256 private constant METADATA_BYTES_MAX = 4096;
    uint256 private constant CURATORS_MAX = 16;
    bytes32 private constant WITHDRAW_ROWS_TYPE =
        keccak256("WithdrawRows(bytes32 datanetId,address account,bytes32[] rows)");
    bytes32 private constant APPROVE_VERSION_TYPE =
        keccak256("ApproveVersion(bytes32 datanetId,uint32 version,bytes32 rowsRoot,bytes32 contributorsRoot)");

    struct Datanet {
        address owner;
        uint32 ownerPpm;
        uint32 version;
        uint32 rules;
        address treasury;
        address proposedOwner;
    }

    struct Version {
        bytes32 rowsRoot;
        bytes32 contributorsRoot;
    }

    /// @dev `need` of these accounts have to approve a version. Without curators, the owner publishes alone.
    struct Curation {
        uint32 need;
        address[] curators; // ascending
    }

    uint64 private immutable _notice;

    mapping(bytes32 id => Datanet) private _datanets;
    mapping(bytes32 id => mapping(uint32 version => Version)) private _versions;
    /// @inheritdoc IDatanetRegistry
    mapping(bytes32 rowsRoot => bytes32 id) public holderOf;
    mapping(bytes32 id => Curation) private _curations;
    /// @inheritdoc IDatanetRegistry
    mapping(bytes32 commitment => uint64 time) public committedAt;

    constructor(IParams params) EIP712("OpenLedgerDatanets", "2") {
        _notice = NOTICE_EPOCHS * params.windows().epoch;
    }

    /// @inheritdoc IDatanetRegistry
    function create(string calldata name, address treasury, uint32 ownerPpm, string calldata licence, uint32 rules)
        external
        returns (bytes32 id)
    {
        return _create(name, treasury, ownerPpm, licence, rules);
    }

    /// @inheritdoc IDatanetRegistry
    function createDescribed(
        string calldata name,
        address treasury,
        uint32 ownerPpm,
        string calldata licence,
        uint32 rules,
        string calldata metadata
    ) external returns (bytes32 id) {
        id = _create(name, treasury, ownerPpm, licence, rules);
        _describe(id, metadata);
    }

    /// @inheritdoc IDatanetRegistry
    function describe(bytes32 id, string calldata metadata) external {
        _owned(id);
        _describe(id, metadata);
    }

    /// @inheritdoc IDatanetRegistry
    function setCurators(bytes32 id, address[] calldata curators, uint32 need) external {
        _owned(id);
        bool isNone = curators.length == 0 && need == 0;
        if (!isNone && (need == 0 || need > curators.length || curators.length > CURATORS_MAX)) {
            revert BadCurators(curators.length, need, CURATORS_MAX);
        }
        address before = address(0);
        for (uint256 i = 0; i < curators.length; ++i) {
            if (curators[i] <= before) revert CuratorsNotAscending(before, curators[i]);
            before = curators[i];
        }
        _curations[id] = Curation({need: need, curators: curators});
        emit CuratorsChanged(id, curators, need);
    }

    /// @inheritdoc IDatanetRegistry
    function publish(bytes32 id, bytes32 rowsRoot, bytes32 contributorsRoot) external returns (uint32 version) {
        version = _publish(_owned(id), id, rowsRoot, contributorsRoot);
        uint32 need = _curations[id].need;
        if (need != 0) revert NeedsApprovals(id, version, need, 0);
    }

    /// @inheritdoc IDatanetRegistry
    function publishApproved(bytes32 id, bytes32 rowsRoot, bytes32 contributorsRoot, bytes[] calldata approvals)
        external
        returns (uint32 version)
    {
        version = _publish(_owned(id), id, rowsRoot, contributorsRoot);
        bytes32 content = keccak256(abi.encode(APPROVE_VERSION_TYPE, id, version, rowsRoot, contributorsRoot));
        emit VersionApproved(id, version, _approversOf(id, version, content, approvals));
    }

    /// @inheritdoc IDatanetRegistry
    function withdrawRows(bytes32 id, address account, bytes32[] calldata rows, bytes calldata signature) external {
        address owner = _known(id).owner;
        if (rows.length == 0) revert NoRows();
        bool byOwner = msg.sender == owner && msg.sender != account && signature.length == 0;
        if (msg.sender != account && !byOwner) _checkSigned(id, account, rows, signature);
        emit RowsWithdrawn(id, account, byOwner, uint64(block.timestamp) + _notice, rows);
    }

    /// @inheritdoc IDatanetRegistry
    function commit(bytes32 commitment) external {
        if (committedAt[commitment] != 0) return;
        committedAt[commitment] = uint64(block.timestamp);
        emit RowsCommitted(commitment, uint64(block.timestamp));
    }

    /// @inheritdoc IDatanetRegistry
    function transferOwnership(bytes32 id, address owner) external {
        _owned(id).proposedOwner = owner;
        emit DatanetOwnerProposed(id, owner);
    }

    /// @inheritdoc IDatanetRegistry
    function acceptOwnership(bytes32 id) external {
        Datanet storage datanet = _known(id);
        if (msg.sender != datanet.proposedOwner) revert NotProposedOwner(id, msg.sender);
        (datanet.owner, datanet.proposedOwner) = (msg.sender, address(0));
        emit DatanetOwnerChanged(id, msg.sender);
    }

    /// @inheritdoc IDatanetRegistry
    function datanetOf(bytes32 id)
        external
        view
        returns (address owner, address treasury, uint32 ownerPpm, uint32 version)
    {
        Datanet storage datanet = _known(id);
        return (datanet.owner, datanet.treasury, datanet.ownerPpm, datanet.version);
    }

    /// @inheritdoc IDatanetRegistry
    function versionOf(bytes32 id, uint32 version) external view returns (bytes32 rowsRoot, bytes32 contributorsRoot) {
        Version storage row = _versions[id][version];
        if (row.rowsRoot == 0) revert UnknownVersion(id, version);
        return (row.rowsRoot, row.contributorsRoot);
    }

    /// @inheritdoc IDatanetRegistry
    function ownerTermsOf(bytes32 id) external view returns (address owner, uint32 ownerPpm) {
        Datanet storage datanet = _known(id);
        return (datanet.owner, datanet.ownerPpm);
    }

    /// @inheritdoc IDatanetRegistry
    function rulesOf(bytes32 id) external view returns (uint32 rules) {
        return _known(id).rules;
    }

    /// @inheritdoc IDatanetRegistry
    function curatorsOf(bytes32 id) external view returns (address[] memory curators, uint32 need) {
        Curation storage curation = _curations[id];
        return (curation.curators, curation.need);
    }

    function _create(string calldata name, address treasury, uint32 ownerPpm, string calldata licence, uint32 rules)
        private
        returns (bytes32 id)
    {
        id = keccak256(abi.encode(msg.sender, name));
        Datanet storage datanet = _datanets[id];
        if (bytes(name).length == 0) revert EmptyName();
        if (treasury == address(0)) revert ZeroTreasury();
        if (ownerPpm > OWNER_PPM_MAX) revert BadOwnerPpm(ownerPpm, OWNER_PPM_MAX);
        if (rules == 0 || rules & ~RULES != 0) revert BadRules(rules, RULES);
        if (datanet.owner != address(0)) revert DatanetExists(id);
        (datanet.owner, datanet.ownerPpm, datanet.rules, datanet.treasury) = (msg.sender, ownerPpm, rules, treasury);
        emit DatanetCreated(id, msg.sender, name, treasury, ownerPpm, licence, rules);
    }

    function _describe(bytes32 id, string calldata metadata) private {
        uint256 length = bytes(metadata).length;
        if (length > METADATA_BYTES_MAX) revert MetadataTooLong(length, METADATA_BYTES_MAX);
        emit DatanetDescribed(id, metadata);
    }

    function _publish(Datanet storage datanet, bytes32 id, bytes32 rowsRoot, bytes32 contributorsRoot)
        private
        returns (uint32 version)
    {
        bytes32 holder = holderOf[rowsRoot];
        if (rowsRoot == 0 || contributorsRoot == 0) revert EmptyRoot();
        if (holder != 0 && holder != id) revert RowsPublished(rowsRoot, holder);
        if (holder == 0) holderOf[rowsRoot] = id;
        version = ++datanet.version;
        _versions[id][version] = Version({rowsRoot: rowsRoot, contributorsRoot: contributorsRoot});
        emit DatanetVersion(id, version, rowsRoot, contributorsRoot);
    }

    function _approversOf(bytes32 id, uint32 version, bytes32 content, bytes[] calldata approvals)
        private
        view
        returns (address[] memory)
    {
        uint32 need = _curations[id].need;
        if (approvals.length < need) revert NeedsApprovals(id, version, need, approvals.length);
        return _curatorsWhoSigned(id, content, approvals);
    }

    /// @dev Both lists ascend, so one walk through the curators finds each signer once.
    function _curatorsWhoSigned(bytes32 id, bytes32 content, bytes[] calldata signatures)
        private
        view
        returns (address[] memory signers)
    {
        address[] memory curators = _curations[id].curators;
        signers = new address[](signatures.length);
        bytes32 digest = _hashTypedDataV4(content);
        uint256 at = 0;
        for (uint256 i = 0; i < signatures.length; ++i) {
            address signer = Signatures.signerOf(digest, signatures[i]);
            while (at < curators.length && curators[at] != signer) ++at;
            if (at == curators.length) revert NotCurator(id, signer);
            signers[i] = signer;
            ++at;
        }
    }

    function _checkSigned(bytes32 id, address account, bytes32[] calldata rows, bytes calldata signature) private view {
        bytes32 content = keccak256(abi.encode(WITHDRAW_ROWS_TYPE, id, account, keccak256(abi.encodePacked(rows))));
        address signer = Signatures.signerOf(_hashTypedDataV4(content), signature);
        if (signer == address(0) || signer != account) revert NotContributor(id, account, msg.sender);
    }

    function _known(bytes32 id) private view returns (Datanet storage datanet) {
        datanet = _datanets[id];
        if (datanet.owner == address(0)) revert UnknownDatanet(id);
    }

    function _owned(bytes32 id) private view returns (Datanet storage datanet) {
        datanet = _known(id);
        if (msg.sender != datanet.owner) revert NotOwner(id, msg.sender);
    }
}
