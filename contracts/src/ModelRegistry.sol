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

    IERC20 public immutable token;
    IParams public immutable params;
    IDatanetRegistry public immutable datanets;

    uint128 private _bondsIn;
    uint128 private _bondsOut;
    mapping(bytes32 adapterId => Adapter) private _adapters;

    constructor(IERC20 token_, IParams params_, IDatanetRegistry datanets_) {
        token = token_;
        params = params_;
        datanets = datanets_;
    }

    /// @inheritdoc IModelRegistry
    function register(
        bytes32 adapterId,
        bytes32 baseDigest,
        bytes32 artifactDigest,
        bytes32 indexRoot,
        bytes32[] calldata datanetIds,
        uint32[] calldata weightsPpm,
        uint32 royaltyPpm
    ) external {
        _register(
            adapterId,
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
        bytes32 adapterId,
        bytes32 baseDigest,
        bytes32 artifactDigest,
        bytes32 indexRoot,
        bytes32[] calldata datanetIds,
        uint32[] calldata weightsPpm,
        uint32 royaltyPpm,
        Permit calldata permit
    ) external {
        Adapter memory adapter;
        (adapter.owner, adapter.royaltyPpm, adapter.bond) = (msg.sender, royaltyPpm, _bondNow());
        (adapter.baseDigest, adapter.artifactDigest, adapter.indexRoot) = (baseDigest, artifactDigest, indexRoot);
        (adapter.datanetIds, adapter.weightsPpm) = (datanetIds, weightsPpm);
        token.tryPermit(adapter.bond, permit.deadline, permit.v, permit.r, permit.s);
        _register(adapterId, adapter);
    }

    /// @inheritdoc IModelRegistry
    function retire(bytes32 adapterId) external {
        Adapter storage adapter = _owned(adapterId);
        if (adapter.retiredAt != 0) revert AlreadyRetired(adapterId);
        adapter.retiredAt = uint64(block.timestamp);
        emit AdapterRetired(adapterId, _reclaimableAt(adapter));
    }

    function reclaimBond(bytes32 adapterId) external {
        Adapter storage adapter = _owned(adapterId);
        uint128 amount = adapter.bond;
        if (adapter.retiredAt == 0) revert NotRetired(adapterId);
        if (block.timestamp < _reclaimableAt(adapter)) revert BondLocked(_reclaimableAt(adapter));
        if (amount == 0) revert NoBond(adapterId);
        adapter.bond = 0;
        _bondsOut += amount;
        emit BondReclaimed(adapterId, msg.sender, amount);
        token.safeTransfer(msg.sender, amount);
    }

    function adapterOf(bytes32 adapterId) external view returns (Adapter memory) {
        return _known(adapterId);
    }

    function termsOf(bytes32 adapterId) external view returns (Terms memory) {
        Adapter storage adapter = _known(adapterId);
        return Terms({
            owner: adapter.owner,
            royaltyPpm: adapter.royaltyPpm,
            datanetIds: adapter.datanetIds,
            weightsPpm: adapter.weightsPpm
        });
    }

    /// @inheritdoc IModelRegistry
    function totals() external view returns (uint128 bondsIn, uint128 bondsOut) {
        return (_bondsIn, _bondsOut);
    }

    function _register(bytes32 adapterId, Adapter memory adapter) private {
        uint32 royaltyMax = params.bounds().royaltyPpmMax;
        if (adapterId == 0) revert ZeroAdapterId();
        if (_adapters[adapterId].owner != address(0)) revert AdapterExists(adapterId);
        if (adapter.royaltyPpm > royaltyMax) revert BadRoyalty(adapter.royaltyPpm, royaltyMax);
        _checkDatanets(adapter.datanetIds, adapter.weightsPpm);
        _adapters[adapterId] = adapter;
        _bondsIn += adapter.bond;
        emit AdapterRegistered(adapterId, msg.sender, adapter);
        token.pull(adapter.bond);
    }

    function _checkDatanets(bytes32[] memory ids, uint32[] memory weightsPpm) private view {
        if (ids.length > DATANETS_MAX) revert TooManyDatanets(ids.length, DATANETS_MAX);
        if (ids.length != weightsPpm.length) revert LengthMismatch(ids.length, weightsPpm.length);
        uint256 sum = 0;
        for (uint256 i = 0; i < ids.length; ++i) {
            if (i > 0 && ids[i] <= ids[i - 1]) revert DatanetsNotAscending(ids[i]);
            if (weightsPpm[i] == 0) revert ZeroWeight(ids[i]);
            datanets.ownerTermsOf(ids[i]); // reverts when there is none
            sum += weightsPpm[i];
        }
        if (ids.length > 0 && sum != PPM) revert BadWeights(sum);
    }

    function _bondNow() private view returns (uint128) {
        return params.valuesAt(params.epochAt(uint64(block.timestamp))).adapterBond;
    }

    function _reclaimableAt(Adapter storage adapter) private view returns (uint64) {
        return adapter.retiredAt + params.windows().unbonding;
    }

    function _known(bytes32 adapterId) private view returns (Adapter storage adapter) {
        adapter = _adapters[adapterId];
        if (adapter.owner == address(0)) revert UnknownAdapter(adapterId);
    }

    function _owned(bytes32 adapterId) private view returns (Adapter storage adapter) {
        adapter = _known(adapterId);
        if (msg.sender != adapter.owner) revert NotAdapterOwner(adapterId, msg.sender);
    }
}
