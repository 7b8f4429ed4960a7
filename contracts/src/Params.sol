// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Bounds, ClaimTerms, IParams, Values, Windows} from "./interfaces/IParams.sol";
import {PPM} from "./interfaces/Types.sol";

/// @dev See {IParams}.
contract Params is IParams {
    /* CONSTANTS AND STORAGE */

    /// @dev Values and their first epoch in three slots. A claim reads the first and the last one.
    struct Row {
        uint32 protocolPpm;
        uint32 dataPpm;
        uint32 algoId;
        uint128 minStake;
        uint128 minDeposit;
        uint128 adapterBond;
        uint32 fromEpoch;
        uint32 draws;
        uint32 creditTokensMax;
        uint32 leastContext;
        uint128 guidePrice;
    }

    /// @dev A longer one, added to a time, could exceed 64 bits, and then what it holds could never leave.
    uint256 private constant WINDOW_MAX = 3650 days;
    /// @dev Bit i: governance may choose the attribution algorithm i. These have a public definition.
    uint256 private constant ALGORITHMS = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 7;
    /// @dev With 2 a false list is a fair game. From 4 on it costs at least twice what it gains.
    uint256 private constant DRAWS_MIN = 4;
    uint256 private constant DRAWS_MAX = 16;
    /// @dev The hash of a block can be read in the next 256 blocks.
    uint256 private constant REDRAW_MAX = 256;
    uint256 private constant STEP_PPM = 10_000;
    /// @dev Up to here a minimum moves freely, or else one of 0 could never move.
    uint256 private constant FREE_MINIMUM = 1e18;
    uint64 private constant STEP_EPOCHS = 14;

    /// @inheritdoc IParams
    address public immutable governor;

    /// @dev Only the constructor writes them.
    Bounds private _bounds;
    Windows private _windows;
    uint64 private immutable _epoch;
    /// @dev Ascending by fromEpoch. The first row holds from epoch 0.
    Row[] private _history;

    /* CONSTRUCTOR */

    constructor(address governor_, Values memory initial, Bounds memory bounds_, Windows memory windows_) {
        _checkBounds(bounds_);
        _checkWindows(windows_);
        _checkValues(initial, bounds_);
        governor = governor_;
        _bounds = bounds_;
        _windows = windows_;
        _epoch = windows_.epoch;
        _push(initial, 0);
    }

    /* GOVERNANCE */

    /// @inheritdoc IParams
    function set(Values calldata values) external {
        if (msg.sender != governor) revert NotGovernor(msg.sender);
        _checkValues(values, _bounds);
        uint64 fromEpoch = epochAt(uint64(block.timestamp)) + 2;
        // slither-disable-next-line incorrect-equality: epochs are whole numbers that only grow
        if (_history[_history.length - 1].fromEpoch == fromEpoch) _history.pop();
        _checkShares(values, fromEpoch);
        _checkMinima(values, fromEpoch);
        _push(values, fromEpoch);
    }

    /* VIEWS */

    /// @inheritdoc IParams
    function valuesAt(uint64 epoch) external view returns (Values memory) {
        Row memory row = _at(epoch);
        return Values({
            protocolPpm: row.protocolPpm,
            dataPpm: row.dataPpm,
            minStake: row.minStake,
            minDeposit: row.minDeposit,
            adapterBond: row.adapterBond,
            draws: row.draws,
            algoId: row.algoId,
            creditTokensMax: row.creditTokensMax,
            leastContext: row.leastContext,
            guidePrice: row.guidePrice
        });
    }

    /// @inheritdoc IParams
    function claimTermsAt(uint64 epoch) external view returns (ClaimTerms memory) {
        Row storage row = _at(epoch);
        return ClaimTerms({protocolPpm: row.protocolPpm, dataPpm: row.dataPpm, minStake: row.minStake});
    }

    /// @inheritdoc IParams
    function drawsAt(uint64 epoch) external view returns (uint256) {
        return _at(epoch).draws;
    }

    /// @inheritdoc IParams
    function windows() external view returns (Windows memory) {
        return _windows;
    }

    /// @inheritdoc IParams
    function bounds() external view returns (Bounds memory) {
        return _bounds;
    }

    /// @inheritdoc IParams
    function epochAt(uint64 timestamp) public view returns (uint64) {
        return timestamp / _epoch;
    }

    /* INTERNALS */

    function _push(Values memory v, uint64 fromEpoch) private {
        _history.push(
            Row({
                protocolPpm: v.protocolPpm,
                dataPpm: v.dataPpm,
                algoId: v.algoId,
                minStake: v.minStake,
                minDeposit: v.minDeposit,
                adapterBond: v.adapterBond,
                // An epoch lasts at least 24 seconds, so 32 bits are enough until the year 5200.
                fromEpoch: uint32(fromEpoch),
                draws: v.draws,
                creditTokensMax: v.creditTokensMax,
                leastContext: v.leastContext,
                guidePrice: v.guidePrice
            })
        );
        emit ParamsQueued(fromEpoch, v);
    }

    /// @dev Searches from the end, since at most three rows are newer than the epochs that can be claimed.
    function _at(uint64 epoch) private view returns (Row storage) {
        uint256 i = _history.length - 1;
        while (_history[i].fromEpoch > epoch) --i;
        return _history[i];
    }

    /* CHECKS */

    /// @dev F: a node chooses when it claims, and with it by which of two epochs' shares. Small and rare steps leave
    /// it nothing to choose.
    function _checkShares(Values calldata v, uint64 fromEpoch) private view {
        Row storage last = _history[_history.length - 1];
        if (_sharesAre(last, v.protocolPpm, v.dataPpm)) return;
        _checkStep("protocolPpm", v.protocolPpm, last.protocolPpm);
        _checkStep("dataPpm", v.dataPpm, last.dataPpm);
        if (!_sharesAre(_stepBefore(fromEpoch), last.protocolPpm, last.dataPpm)) revert SharesTooSoon(fromEpoch);
    }

    /// @dev F: by a minimum that one vote raises a hundredfold, small nodes could no longer claim what they have earned.
    function _checkMinima(Values calldata v, uint64 fromEpoch) private view {
        Row storage last = _history[_history.length - 1];
        Row storage before = _stepBefore(fromEpoch);
        _checkMinimum("minStake", v.minStake, last.minStake, before.minStake, fromEpoch);
        _checkMinimum("minDeposit", v.minDeposit, last.minDeposit, before.minDeposit, fromEpoch);
        _checkMinimum("adapterBond", v.adapterBond, last.adapterBond, before.adapterBond, fromEpoch);
    }

    function _checkMinimum(string memory what, uint256 value, uint256 last, uint256 before, uint64 fromEpoch)
        private
        pure
    {
        if (value == last) return;
        (uint256 less, uint256 more) = value < last ? (value, last) : (last, value);
        if (more > FREE_MINIMUM && more > 2 * less) revert MinimumStep(what, value, last);
        if (before != last) revert MinimumTooSoon(what, fromEpoch);
    }

    /// @dev Two changes of a value are never closer than from here to `fromEpoch`, so if the value of this row is the
    /// newest one, there was none between.
    function _stepBefore(uint64 fromEpoch) private view returns (Row storage) {
        return _at(fromEpoch < STEP_EPOCHS ? 0 : fromEpoch - STEP_EPOCHS);
    }

    function _sharesAre(Row storage row, uint32 protocolPpm, uint32 dataPpm) private view returns (bool) {
        return row.protocolPpm == protocolPpm && row.dataPpm == dataPpm;
    }

    function _checkStep(string memory what, uint256 value, uint256 before) private pure {
        uint256 step = value > before ? value - before : before - value;
        uint256 stepMax = before / 4 > STEP_PPM ? before / 4 : STEP_PPM;
        if (step > stepMax) revert ShareStep(what, value, before, stepMax);
    }

    function _checkBounds(Bounds memory b) private pure {
        uint256 others = uint256(b.protocolPpmMax) + b.dataPpmMax + b.royaltyPpmMax;
        _require("sum of the shares' maxima", others, 0, PPM - 1);
        if (PPM - others < b.dataPpmMax / 2) revert LapseFeeNotCovered(PPM - others, b.dataPpmMax / 2);
        _require("dataPpmMin", b.dataPpmMin, 1, b.dataPpmMax);
        _require("minStakeMin", b.minStakeMin, 1, b.minStakeMax);
        _require("minDepositMin", b.minDepositMin, 1, b.minDepositMax);
        _require("adapterBondMin", b.adapterBondMin, 0, b.adapterBondMax);
    }

    function _checkWindows(Windows memory w) private pure {
        // Nothing that a node or a payer has to do in time fits into a smaller part of an epoch.
        _require("epoch", w.epoch, 24, WINDOW_MAX);
        _require("propose", w.propose, w.epoch, WINDOW_MAX);
        _require("window", w.window, w.epoch / 24, WINDOW_MAX);
        _require("redrawBlocks", w.redrawBlocks, 16, REDRAW_MAX);
        _require("slashGap", w.slashGap, w.epoch, WINDOW_MAX);
        _require("unbonding", w.unbonding, w.epoch, WINDOW_MAX);
        _require("withdrawDelayMax", w.withdrawDelayMax, w.epoch / 3, WINDOW_MAX);
        _require("withdrawDelayMin", w.withdrawDelayMin, w.epoch / 3, w.withdrawDelayMax);
        _require("withdrawPeriod", w.withdrawPeriod, w.epoch, WINDOW_MAX);
    }

    function _checkValues(Values memory v, Bounds memory b) private pure {
        _require("protocolPpm", v.protocolPpm, 0, b.protocolPpmMax);
        _require("dataPpm", v.dataPpm, b.dataPpmMin, b.dataPpmMax);
        _require("minStake", v.minStake, b.minStakeMin, b.minStakeMax);
        _require("minDeposit", v.minDeposit, b.minDepositMin, b.minDepositMax);
        _require("adapterBond", v.adapterBond, b.adapterBondMin, b.adapterBondMax);
        _require("draws", v.draws, DRAWS_MIN, DRAWS_MAX);
        _require("creditTokensMax", v.creditTokensMax, 1, b.creditTokensMax);
        _require("leastContext", v.leastContext, 1, b.leastContextMax);
        _require("guidePrice", v.guidePrice, 0, b.guidePriceMax);
        if (v.algoId > 255 || ALGORITHMS >> v.algoId & 1 == 0) revert UnknownAlgorithm(v.algoId);
    }

    function _require(string memory what, uint256 value, uint256 min, uint256 max) private pure {
        if (value < min || value > max) revert OutOfBounds(what, value, min, max);
    }
}
