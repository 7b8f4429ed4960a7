// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {IDatanetRegistry} from "./interfaces/IDatanetRegistry.sol";
import {Adapter, IModelRegistry, Permit, Terms} from "./interfaces/IModelRegistry.sol";
import {IParams} from "./interfaces/IParams.sol";
import {PPM} from "./interfaces/Types.sol";
import {Tokens} from "./lib/Tokens.sol";

/// @dev See {IModelRegistry}.
contract ModelRegistry is IModelRegistry {
    using SafeERC20 for IERC20;
    using Tokens for IERC20;

    uint256 private constant DATANETS_MAX = 8;

    /// @dev An adapter, laid out so that a claim reads few slots: the first one, the weights, and one for each Datanet.
    struct Row {
        address owner;
        uint32 royaltyPpm;
        uint56 retiredAt;
        uint8 numDatanets;
        uint32[DATANETS_MAX] weightsPpm;
        bytes32[DATANETS_MAX] datanetIds;
        uint128 bond;
        bytes32 baseDigest;
        bytes32 artifactDigest;
        bytes32 indexRoot;
    }

    IERC20 public immutable token;
    IParams public immutable params;
    IDatanetRegistry public immutable datanets;

    uint128 private _bondsIn;
    uint128 private _bondsOut;
    mapping(bytes32 adapterId => Row) private _adapters;

    constructor(IERC20 token_, IParams params_, IDatanetRegistry datanets_) {
        token = token_;
        params = params_;
        datanets = datanets_;
    }

    /// @inheritdoc IModelRegistry
    function register(
        bytes32 manifestId,
        bytes32 baseDigest,
        bytes32 artifactDigest,
        bytes32 indexRoot,
        bytes32[] calldata datanetIds,
        uint32[] calldata weightsPpm,
        uint32 royaltyPpm
    ) external returns (bytes32 adapterId) {
        return _register(
            manifestId,
            Adapter({
                owner: msg.sender,
                royaltyPpm: royaltyPpm,
                retiredAt: 0,
                bond: _bondNow(),
                baseDigest: baseDigest,
                artifactDigest: artifactDigest,
                indexRoot: indexRoot,
                datanetIds: datanetIds,
                weightsPpm: weightsPpm
            })
        );
    }

    /// @inheritdoc IModelRegistry
    function registerWithPermit(
        bytes32 manifestId,
        bytes32 baseDigest,
        bytes32 artifactDigest,
        bytes32 indexRoot,
        bytes32[] calldata datanetIds,
        uint32[] calldata weightsPpm,
        uint32 royaltyPpm,
        Permit calldata permit
    ) external returns (bytes32 adapterId) {
        // slither-disable-next-line uninitialized-local: memory begins as zeros, and the next lines fill it
        Adapter memory adapter;
        (adapter.owner, adapter.royaltyPpm, adapter.bond) = (msg.sender, royaltyPpm, _bondNow());
        (adapter.baseDigest, adapter.artifactDigest, adapter.indexRoot) = (baseDigest, artifactDigest, indexRoot);
        (adapter.datanetIds, adapter.weightsPpm) = (datanetIds, weightsPpm);
        token.tryPermit(adapter.bond, permit.deadline, permit.v, permit.r, permit.s);
        return _register(manifestId, adapter);
    }

    /// @inheritdoc IModelRegistry
    function retire(bytes32 adapterId) external {
        Row storage adapter = _owned(adapterId);
        if (adapter.retiredAt != 0) revert AlreadyRetired(adapterId);
        adapter.retiredAt = uint56(block.timestamp);
        emit AdapterRetired(adapterId, _reclaimableAt(adapter));
    }

    /// @inheritdoc IModelRegistry
    function reclaimBond(bytes32 adapterId) external {
        Row storage adapter = _owned(adapterId);
        uint128 amount = adapter.bond;
        if (adapter.retiredAt == 0) revert NotRetired(adapterId);
        if (block.timestamp < _reclaimableAt(adapter)) revert BondLocked(_reclaimableAt(adapter));
        if (amount == 0) revert NoBond(adapterId);
        adapter.bond = 0;
        _bondsOut += amount;
        emit BondReclaimed(adapterId, msg.sender, amount);
        token.safeTransfer(msg.sender, amount);
    }

    /// @inheritdoc IModelRegistry
    function adapterOf(bytes32 adapterId) external view returns (Adapter memory) {
        Row storage adapter = _known(adapterId);
        Terms memory terms = termsOf(adapterId);
        return Adapter({
            owner: adapter.owner,
            royaltyPpm: adapter.royaltyPpm,
            retiredAt: adapter.retiredAt,
            bond: adapter.bond,
            baseDigest: adapter.baseDigest,
            artifactDigest: adapter.artifactDigest,
            indexRoot: adapter.indexRoot,
            datanetIds: terms.datanetIds,
            weightsPpm: terms.weightsPpm
        });
    }

    /// @inheritdoc IModelRegistry
    function termsOf(bytes32 adapterId) public view returns (Terms memory terms) {
        Row storage adapter = _known(adapterId);
        uint256 count = adapter.numDatanets;
        (terms.owner, terms.royaltyPpm) = (adapter.owner, adapter.royaltyPpm);
        if (adapter.retiredAt != 0) terms.claimableUntil = _reclaimableAt(adapter);
        terms.datanetIds = new bytes32[](count);
        terms.weightsPpm = new uint32[](count);
        for (uint256 i = 0; i < count; ++i) {
            terms.datanetIds[i] = adapter.datanetIds[i];
            // A single Datanet has all the weight, which saves reading the slot of the weights.
            terms.weightsPpm[i] = count == 1 ? uint32(PPM) : adapter.weightsPpm[i];
        }
    }

    /// @inheritdoc IModelRegistry
    function totals() external view returns (uint128 bondsIn, uint128 bondsOut) {
        return (_bondsIn, _bondsOut);
    }

    function _register(bytes32 manifestId, Adapter memory adapter) private returns (bytes32 adapterId) {
        // The caller is a part of the id, so whoever else registers the same manifest gets another id.
        adapterId = keccak256(abi.encode(msg.sender, manifestId));
        uint32 royaltyMax = params.bounds().royaltyPpmMax;
        if (manifestId == 0) revert ZeroManifestId();
        if (_adapters[adapterId].owner != address(0)) revert AdapterExists(adapterId);
        if (adapter.royaltyPpm > royaltyMax) revert BadRoyalty(adapter.royaltyPpm, royaltyMax);
        _checkDatanets(adapter.datanetIds, adapter.weightsPpm);
        // Without an index nobody's rows can be found in an answer, and the Datanet's treasury would get all of its pot.
        // slither-disable-next-line incorrect-equality: a root, not a balance
        if (adapter.datanetIds.length > 0 && adapter.indexRoot == 0) revert NoIndex();
        _write(_adapters[adapterId], adapter);
        _bondsIn += adapter.bond;
        emit AdapterRegistered(adapterId, manifestId, msg.sender, adapter);
        token.pull(adapter.bond);
    }

    function _write(Row storage row, Adapter memory adapter) private {
        (row.owner, row.royaltyPpm, row.bond) = (adapter.owner, adapter.royaltyPpm, adapter.bond);
        (row.baseDigest, row.artifactDigest, row.indexRoot) =
            (adapter.baseDigest, adapter.artifactDigest, adapter.indexRoot);
        row.numDatanets = uint8(adapter.datanetIds.length);
        for (uint256 i = 0; i < adapter.datanetIds.length; ++i) {
            (row.datanetIds[i], row.weightsPpm[i]) = (adapter.datanetIds[i], adapter.weightsPpm[i]);
        }
    }

    function _checkDatanets(bytes32[] memory ids, uint32[] memory weightsPpm) private view {
        if (ids.length > DATANETS_MAX) revert TooManyDatanets(ids.length, DATANETS_MAX);
        if (ids.length != weightsPpm.length) revert LengthMismatch(ids.length, weightsPpm.length);
        uint256 sum = 0;
        for (uint256 i = 0; i < ids.length; ++i) {
            if (i > 0 && ids[i] <= ids[i - 1]) revert DatanetsNotAscending(ids[i]);
            // slither-disable-next-line incorrect-equality: a weight, not a balance
            if (weightsPpm[i] == 0) revert ZeroWeight(ids[i]);
            // slither-disable-next-line unused-return: called only because it reverts
            datanets.ownerTermsOf(ids[i]); // reverts if there is no such Datanet
            sum += weightsPpm[i];
        }
        if (ids.length > 0 && sum != PPM) revert BadWeights(sum);
    }

    function _bondNow() private view returns (uint128) {
        return params.valuesAt(params.epochAt(uint64(block.timestamp))).adapterBond;
    }

    function _reclaimableAt(Row storage adapter) private view returns (uint64) {
        return uint64(adapter.retiredAt) + params.windows().unbonding;
    }

    function _known(bytes32 adapterId) private view returns (Row storage adapter) {
        adapter = _adapters[adapterId];
        if (adapter.owner == address(0)) revert UnknownAdapter(adapterId);
    }

    function _owned(bytes32 adapterId) private view returns (Row storage adapter) {
        adapter = _known(adapterId);
        if (msg.sender != adapter.owner) revert NotAdapterOwner(adapterId, msg.sender);
    }
}
