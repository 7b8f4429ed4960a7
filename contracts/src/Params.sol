// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Bounds, ClaimTerms, IParams, Values, Windows} from "./interfaces/IParams.sol";
import {PPM} from "./interfaces/Types.sol";

/// @dev See {IParams}.
contract Params is IParams {
    struct Entry {
        uint64 fromEpoch;
        Values values;
    }

    /// @dev A longer one, added to a time, could exceed 64 bits, and then what it holds could never leave.
    uint256 private constant WINDOW_MAX = 3650 days;
    /// @dev Bit i: governance may choose the attribution algorithm i. These have a public definition.
    uint256 private constant ALGORITHMS = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 7;

    /// @inheritdoc IParams
    address public immutable governor;

    uint64 private immutable _epoch;
    uint64 private immutable _propose;
    uint64 private immutable _window;
    uint64 private immutable _response;
    uint64 private immutable _pauseMax;
    uint64 private immutable _unbonding;
    uint64 private immutable _withdrawDelayMin;
    uint64 private immutable _withdrawDelayMax;
    uint64 private immutable _withdrawPeriod;

    /// @dev Only the constructor writes it.
    Bounds private _bounds;
    /// @dev Ascending by fromEpoch. The first entry holds from epoch 0.
    Entry[] private _history;

    constructor(address governor_, Values memory initial, Bounds memory bounds_, Windows memory windows_) {
        _checkBounds(bounds_);
        _checkWindows(windows_);
        _checkValues(initial, bounds_);
        governor = governor_;
        _bounds = bounds_;
        (_epoch, _propose, _window) = (windows_.epoch, windows_.propose, windows_.window);
        (_response, _pauseMax, _unbonding) = (windows_.response, windows_.pauseMax, windows_.unbonding);
        (_withdrawDelayMin, _withdrawDelayMax) = (windows_.withdrawDelayMin, windows_.withdrawDelayMax);
        _withdrawPeriod = windows_.withdrawPeriod;
        _history.push(Entry({fromEpoch: 0, values: initial}));
        emit ParamsQueued(0, initial);
    }

    /// @inheritdoc IParams
    function set(Values calldata values) external {
        if (msg.sender != governor) revert NotGovernor(msg.sender);
        _checkValues(values, _bounds);
        uint64 fromEpoch = epochAt(uint64(block.timestamp)) + 2;
        if (_history[_history.length - 1].fromEpoch == fromEpoch) _history.pop();
        _history.push(Entry({fromEpoch: fromEpoch, values: values}));
        emit ParamsQueued(fromEpoch, values);
    }

    /// @inheritdoc IParams
    function valuesAt(uint64 epoch) external view returns (Values memory) {
        return _at(epoch);
    }

    /// @inheritdoc IParams
    function claimTermsAt(uint64 epoch) external view returns (ClaimTerms memory) {
        Values storage values = _at(epoch);
        return ClaimTerms({
            protocolPpm: values.protocolPpm,
            stakersPpm: values.stakersPpm,
            dataPpm: values.dataPpm,
            minStake: values.minStake
        });
    }

    /// @inheritdoc IParams
    function windows() external view returns (Windows memory) {
        return Windows({
            epoch: _epoch,
            propose: _propose,
            window: _window,
            response: _response,
            pauseMax: _pauseMax,
            unbonding: _unbonding,
            withdrawDelayMin: _withdrawDelayMin,
            withdrawDelayMax: _withdrawDelayMax,
            withdrawPeriod: _withdrawPeriod
        });
    }

    /// @inheritdoc IParams
    function bounds() external view returns (Bounds memory) {
        return _bounds;
    }

    /// @inheritdoc IParams
    function epochAt(uint64 timestamp) public view returns (uint64) {
        return timestamp / _epoch;
    }

    /// @dev Searches from the end, since at most three entries are newer than the epochs that can be claimed.
    function _at(uint64 epoch) private view returns (Values storage) {
        uint256 i = _history.length - 1;
        while (_history[i].fromEpoch > epoch) --i;
        return _history[i].values;
    }

    function _checkBounds(Bounds memory b) private pure {
        uint256 sum = uint256(b.protocolPpmMax) + b.stakersPpmMax + b.dataPpmMax + b.royaltyPpmMax;
        _require("sum of the shares' maxima", sum, 0, PPM - 1);
        _require("minStakeMin", b.minStakeMin, 1, b.minStakeMax);
        _require("minDepositMin", b.minDepositMin, 1, b.minDepositMax);
        _require("adapterBondMin", b.adapterBondMin, 0, b.adapterBondMax);
    }

    function _checkWindows(Windows memory w) private pure {
        // Nothing that a node or a payer has to do in time fits into a smaller part of an epoch.
        _require("epoch", w.epoch, 24, WINDOW_MAX);
        _require("propose", w.propose, w.epoch, WINDOW_MAX);
        _require("window", w.window, w.epoch / 24, WINDOW_MAX);
        _require("response", w.response, w.epoch / 24, WINDOW_MAX);
        _require("pauseMax", w.pauseMax, w.epoch / 24, WINDOW_MAX);
        _require("unbonding", w.unbonding, w.epoch, WINDOW_MAX);
        _require("withdrawDelayMax", w.withdrawDelayMax, w.epoch / 3, WINDOW_MAX);
        _require("withdrawDelayMin", w.withdrawDelayMin, w.epoch / 3, w.withdrawDelayMax);
        _require("withdrawPeriod", w.withdrawPeriod, w.epoch, WINDOW_MAX);
        uint256 needed = uint256(w.propose) + w.window + w.response + w.pauseMax;
        if (w.unbonding < needed) revert UnbondingTooShort(w.unbonding, needed);
    }

    function _checkValues(Values memory v, Bounds memory b) private pure {
        _require("protocolPpm", v.protocolPpm, 0, b.protocolPpmMax);
        _require("stakersPpm", v.stakersPpm, 0, b.stakersPpmMax);
        _require("dataPpm", v.dataPpm, 0, b.dataPpmMax);
        _require("minStake", v.minStake, b.minStakeMin, b.minStakeMax);
        _require("minDeposit", v.minDeposit, b.minDepositMin, b.minDepositMax);
        _require("adapterBond", v.adapterBond, b.adapterBondMin, b.adapterBondMax);
        _require("creditTokensMax", v.creditTokensMax, 1, b.creditTokensMax);
        if (v.algoId > 255 || ALGORITHMS >> v.algoId & 1 == 0) revert UnknownAlgorithm(v.algoId);
    }

    function _require(string memory what, uint256 value, uint256 min, uint256 max) private pure {
        if (value < min || value > max) revert OutOfBounds(what, value, min, max);
    }
}
