// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IPaymentChannels as I} from "../../src/interfaces/IPaymentChannels.sol";
import {ChannelConfig} from "../../src/interfaces/Types.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

contract StartWithdrawTest is World {
    function test_a_withdrawal_is_announced_for_after_the_delay() public {
        ChannelConfig memory config = _open(1);
        bytes32 id = channels.channelId(config);
        uint64 readyAt = uint64(block.timestamp) + DELAY;
        _emits(address(channels));
        emit I.WithdrawStarted(id, DEPOSIT / 4, readyAt);
        vm.prank(payer);
        channels.startWithdraw(config, DEPOSIT / 4);
        (uint128 amount, uint64 at) = channels.withdrawalOf(id);
        eq("amount", amount, DEPOSIT / 4);
        eq("ready at", at, readyAt);
        eq("nothing has left", _left(config), DEPOSIT);
    }

    function test_no_more_is_announced_than_is_left() public {
        ChannelConfig memory config = _open(1);
        _claim(_ids(BASE), _items(_item(config, 0, 10)));
        vm.prank(payer);
        channels.startWithdraw(config, type(uint128).max);
        (uint128 amount,) = channels.withdrawalOf(channels.channelId(config));
        eq("amount", amount, DEPOSIT - 10);
    }

    function test_only_the_payer_announces() public {
        ChannelConfig memory config = _open(1);
        _refuses(I.NotPayer.selector, abi.encode(payer, stranger));
        vm.prank(stranger);
        channels.startWithdraw(config, 1);
    }

    function test_there_is_one_at_a_time() public {
        ChannelConfig memory config = _open(1);
        bytes32 id = channels.channelId(config);
        uint64 until = uint64(block.timestamp) + DELAY + windows().withdrawPeriod;
        vm.startPrank(payer);
        channels.startWithdraw(config, 1);
        vm.warp(until);
        _refuses(I.WithdrawalPending.selector, abi.encode(id, until));
        channels.startWithdraw(config, 2);
        (uint128 pending,) = channels.withdrawalOf(id);
        eq("pending in the last second", pending, 1);
        vm.warp(until + 1);
        (uint128 expired,) = channels.withdrawalOf(id);
        eq("one that expired is none", expired, 0);
        channels.startWithdraw(config, 2);
        vm.stopPrank();
        (uint128 amount, uint64 readyAt) = channels.withdrawalOf(id);
        eq("amount", amount, 2);
        eq("ready at", readyAt, until + 1 + DELAY);
    }

    function test_nothing_cannot_be_announced() public {
        ChannelConfig memory config = _open(1);
        bytes32 id = channels.channelId(config);
        _refuses(I.NothingToWithdraw.selector, abi.encode(id));
        vm.prank(payer);
        channels.startWithdraw(config, 0);
        _claim(_ids(BASE), _items(_item(config, 0, DEPOSIT)));
        _refuses(I.NothingToWithdraw.selector, abi.encode(id));
        vm.prank(payer);
        channels.startWithdraw(config, 1);
    }
}

contract FinishWithdrawTest is World {
    ChannelConfig private _it;
    uint64 private _readyAt;

    function setUp() public override {
        super.setUp();
        _it = _open(1);
        _readyAt = uint64(block.timestamp) + DELAY;
        vm.prank(payer);
        channels.startWithdraw(_it, DEPOSIT / 2);
    }

    function test_after_the_delay_it_is_paid_to_the_payer() public {
        uint256 before = token.balanceOf(payer);
        bytes32 id = channels.channelId(_it);
        vm.warp(_readyAt);
        _emits(address(channels));
        emit I.WithdrawFinished(id, DEPOSIT / 2);
        vm.prank(payer);
        channels.finishWithdraw(_it);
        eq("paid", token.balanceOf(payer) - before, DEPOSIT / 2);
        eq("left", _left(_it), DEPOSIT / 2);
        eq("withdrawn", channels.totals().withdrawn, DEPOSIT / 2);
        (uint128 amount, uint64 readyAt) = channels.withdrawalOf(id);
        eq("gone", amount + readyAt, 0);
    }

    function test_it_is_paid_once() public {
        bytes32 id = channels.channelId(_it);
        vm.warp(_readyAt);
        vm.startPrank(payer);
        channels.finishWithdraw(_it);
        _refuses(I.NothingToWithdraw.selector, abi.encode(id));
        channels.finishWithdraw(_it);
    }

    function test_not_a_second_before_the_delay() public {
        vm.warp(_readyAt - 1);
        _refuses(I.WithdrawalNotReady.selector, abi.encode(_readyAt));
        vm.prank(payer);
        channels.finishWithdraw(_it);
    }

    /// @dev F: a withdrawal that stays armed for ever is a way to leave in the moment a voucher is signed.
    function test_a_pre_armed_withdrawal_goes_off_after_seven_days() public {
        uint64 until = _readyAt + windows().withdrawPeriod;
        vm.warp(until + 1);
        _refuses(I.WithdrawalExpired.selector, abi.encode(until));
        vm.prank(payer);
        channels.finishWithdraw(_it);
        vm.warp(until);
        vm.prank(payer);
        channels.finishWithdraw(_it);
    }

    /// @dev F: refund all, keep the withdrawal armed, deposit anew, take a service, leave with the deposit at once.
    function test_a_refund_disarms_a_withdrawal_for_a_later_deposit() public {
        bytes32 id = channels.channelId(_it);
        _refund(_it, DEPOSIT, 0);
        vm.startPrank(payer);
        channels.open(_it, DEPOSIT);
        vm.warp(_readyAt);
        _refuses(I.NothingToWithdraw.selector, abi.encode(id));
        channels.finishWithdraw(_it);
    }

    function test_a_refund_shrinks_it_by_as_much() public {
        _refund(_it, 10, 0);
        (uint128 amount, uint64 readyAt) = channels.withdrawalOf(channels.channelId(_it));
        eq("amount", amount, DEPOSIT / 2 - 10);
        eq("ready at", readyAt, _readyAt);
    }

    function test_only_the_payer_finishes() public {
        vm.warp(_readyAt);
        _refuses(I.NotPayer.selector, abi.encode(payer, stranger));
        vm.prank(stranger);
        channels.finishWithdraw(_it);
    }

    function test_without_an_announcement_nothing_leaves() public {
        ChannelConfig memory config = _open(2);
        bytes32 id = channels.channelId(config);
        _refuses(I.NothingToWithdraw.selector, abi.encode(id));
        vm.prank(payer);
        channels.finishWithdraw(config);
    }

    /// @dev The node has been told, and claims in the delay what it has earned.
    function test_what_was_claimed_in_the_meantime_stays() public {
        _claim(_ids(BASE), _items(_item(_it, 0, DEPOSIT - 5)));
        uint256 before = token.balanceOf(payer);
        vm.warp(_readyAt);
        vm.prank(payer);
        channels.finishWithdraw(_it);
        eq("paid", token.balanceOf(payer) - before, 5);
        eq("left", _left(_it), 0);
    }

    function test_when_all_was_claimed_nothing_is_left_to_take() public {
        bytes32 id = channels.channelId(_it);
        _claim(_ids(BASE), _items(_item(_it, 0, DEPOSIT)));
        vm.warp(_readyAt);
        _refuses(I.NothingToWithdraw.selector, abi.encode(id));
        vm.prank(payer);
        channels.finishWithdraw(_it);
    }
}
