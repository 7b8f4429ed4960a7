// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ChannelConfig} from "../../src/interfaces/Types.sol";
import {vm} from "../support/Vm.sol";
import {Books} from "./Books.sol";

/// @notice What payers do with their channels, and the guardian with new money.
abstract contract Payers is Books {
    modifier counted(string memory action) {
        _;
        ++numCalls[action];
    }

    // ---- payers ----

    function open(uint256 who, uint256 amount, uint64 delay) external {
        if (configs.length == 12 || _isStopped()) return;
        ChannelConfig memory config = _config(configs.length);
        (config.payer, config.node) = (_payerOf(who), _nodeOf(who / PAYERS));
        config.withdrawDelay = uint64(within(delay, windows().withdrawDelayMin, 4 days));
        configs.push(config);
        _pay(config, within(amount, MIN_DEPOSIT, 2 * DEPOSIT), true);
    }

    function topUp(uint256 which, uint256 amount) external {
        if (configs.length == 0 || _isStopped()) return;
        ChannelConfig memory config = configs[which % configs.length];
        (uint128 deposit,) = channels.channelOf(channels.channelId(config));
        bool isClosed = deposit == 0;
        _pay(config, within(amount, isClosed ? MIN_DEPOSIT : 1, DEPOSIT), isClosed);
    }

    function _pay(ChannelConfig memory config, uint256 amount, bool isNew) private counted(isNew ? "open" : "topUp") {
        if (amount > token.balanceOf(config.payer)) return;
        vm.prank(config.payer);
        if (isNew) channels.open(config, uint128(amount));
        else channels.topUp(config, uint128(amount));
        paidIn += amount;
        spent[config.payer] += amount;
    }

    function startWithdraw(uint256 which, uint256 amount) external {
        if (configs.length == 0) return;
        ChannelConfig memory config = configs[which % configs.length];
        (uint128 pending, uint64 readyAt) = channels.withdrawalOf(channels.channelId(config));
        if (_left(config) == 0 || (pending > 0 && block.timestamp <= readyAt + windows().withdrawPeriod)) return;
        _start(config, uint128(within(amount, 1, 3 * DEPOSIT)));
    }

    function _start(ChannelConfig memory config, uint128 amount) internal counted("startWithdraw") {
        vm.prank(config.payer);
        channels.startWithdraw(config, amount);
    }

    function finishWithdraw(uint256 which) external {
        if (configs.length == 0) return;
        ChannelConfig memory config = configs[which % configs.length];
        (uint128 amount, uint64 readyAt) = channels.withdrawalOf(channels.channelId(config));
        if (amount == 0 || _left(config) == 0 || block.timestamp > readyAt + windows().withdrawPeriod) return;
        if (block.timestamp < readyAt) vm.warp(readyAt);
        _finish(config);
    }

    function _finish(ChannelConfig memory config) internal counted("finishWithdraw") {
        (uint128 amount,) = channels.withdrawalOf(channels.channelId(config));
        if (amount > _left(config)) amount = _left(config);
        vm.prank(config.payer);
        channels.finishWithdraw(config);
        withdrawn += amount;
        returned[config.payer] += amount;
    }

    function refund(uint256 which, uint256 amount) external {
        if (configs.length == 0) return;
        ChannelConfig memory config = configs[which % configs.length];
        if (_left(config) > 0) _refundOf(config, uint128(within(amount, 1, _left(config))));
    }

    function _refundOf(ChannelConfig memory config, uint128 amount) private counted("refund") {
        uint256 nonce = channels.refundNonceOf(channels.channelId(config));
        vm.prank(config.node);
        channels.refund(config, amount, nonce, "");
        refunded += amount;
        returned[config.payer] += amount;
    }

    // ---- the guardian ----

    function stop(uint256 duration) external {
        if (channels.stoppedUntil() == 0) _stop(uint64(within(duration, 1, 4 days)));
    }

    function _stop(uint64 duration) private counted("stop") {
        vm.prank(guardian);
        channels.stopDeposits(duration);
    }

    function resume(uint256 who) external {
        if (_isStopped()) _resume(who % 2 == 0 ? governor : guardian);
    }

    function _resume(address by) private counted("resume") {
        vm.prank(by);
        channels.resumeDeposits();
    }

    function _isStopped() private view returns (bool) {
        return block.timestamp < channels.stoppedUntil();
    }
}
