// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IPaymentChannels as I} from "../../src/interfaces/IPaymentChannels.sol";
import {ChannelConfig, ClaimRecord} from "../../src/interfaces/Types.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

contract StopTest is World {
    function _stop(uint64 duration) private {
        vm.prank(guardian);
        channels.stopDeposits(duration);
    }

    function test_no_new_money_until_it_ends_by_itself() public {
        ChannelConfig memory config = _open(1);
        uint64 until = uint64(block.timestamp) + 60;
        _emits(address(channels));
        emit I.DepositsStopped(until);
        _stop(60);
        eq("until", channels.stoppedUntil(), until);
        vm.warp(until - 1);
        _refuses(I.DepositsAreStopped.selector, abi.encode(until));
        vm.prank(payer);
        channels.topUp(config, 1);
        ChannelConfig memory another = _config(2);
        _refuses(I.DepositsAreStopped.selector, abi.encode(until));
        vm.prank(payer);
        channels.open(another, DEPOSIT);
        vm.warp(until);
        vm.prank(payer);
        channels.topUp(config, 1);
        _open(2);
    }

    /// @dev F: a guardian who can stop a draw or an exit can take a node's share, or hold a deposit for ransom.
    function test_everything_else_goes_on() public {
        ChannelConfig memory config = _open(1);
        ClaimRecord memory late = _claimed(BASE);
        _stop(30 days);
        ClaimRecord memory record = _claim(_ids(BASE), _items(_item(config, 0, OPEN)));
        _proposed(record, _payouts(record, alice));
        vm.prank(signer);
        rewards.draw(node, record.seq);
        _refund(config, OPEN, 0);
        vm.prank(payer);
        channels.startWithdraw(config, DEPOSIT);
        vm.warp(block.timestamp + DELAY);
        vm.prank(payer);
        channels.finishWithdraw(config);
        eq("left", _left(config), 0);
        vm.warp(late.claimedAt + windows().propose + 1);
        rewards.finalizeLate(late);
    }

    /// @dev F: stops end to end would be a stop for ever.
    function test_once_for_ever() public {
        uint64 until = uint64(block.timestamp) + 60;
        _stop(60);
        _refuses(I.StoppedBefore.selector, abi.encode(until));
        _stop(60);
        vm.warp(until + 3650 days);
        _refuses(I.StoppedBefore.selector, abi.encode(until));
        _stop(60);
    }

    function test_thirty_days_at_most_and_some_time_at_least() public {
        _refuses(I.BadDuration.selector, abi.encode(30 days + 1, 30 days));
        _stop(30 days + 1);
        _refuses(I.BadDuration.selector, abi.encode(0, 30 days));
        _stop(0);
        _stop(30 days);
    }

    function test_only_the_guardian_stops() public {
        address[4] memory others = [stranger, governor, node, address(this)];
        for (uint256 i = 0; i < others.length; ++i) {
            _refuses(I.NotGuardian.selector, abi.encode(others[i]));
            vm.prank(others[i]);
            channels.stopDeposits(60);
        }
    }

    function test_the_guardian_or_a_vote_ends_it_early_and_it_does_not_come_back() public {
        address[2] memory both = [guardian, governor];
        uint256 state = vm.snapshotState();
        for (uint256 i = 0; i < both.length; ++i) {
            uint64 now_ = uint64(block.timestamp);
            _stop(60);
            vm.warp(now_ + 59);
            _emits(address(channels));
            emit I.DepositsStopped(now_ + 59);
            vm.prank(both[i]);
            channels.resumeDeposits();
            _open(1);
            _refuses(I.StoppedBefore.selector, abi.encode(now_ + 59));
            _stop(60);
            vm.revertToState(state);
        }
    }

    function test_nobody_else_ends_it() public {
        _stop(60);
        address[4] memory others = [stranger, node, payer, address(this)];
        for (uint256 i = 0; i < others.length; ++i) {
            _refuses(I.NotGuardian.selector, abi.encode(others[i]));
            vm.prank(others[i]);
            channels.resumeDeposits();
        }
    }

    /// @dev F: ended before it began, it would be used up by a vote.
    function test_only_a_stop_can_be_ended() public {
        _refuses(I.NotStopped.selector);
        vm.prank(governor);
        channels.resumeDeposits();
        _stop(60);
        vm.warp(block.timestamp + 60);
        _refuses(I.NotStopped.selector);
        vm.prank(guardian);
        channels.resumeDeposits();
    }

    function test_nobody_is_no_guardian() public {
        bytes memory arguments = abi.encode(token, params, staking, models, datanets, address(0));
        bytes memory code = abi.encodePacked(vm.getCode("PaymentChannels.sol:PaymentChannels"), arguments);
        address made;
        assembly ("memory-safe") {
            made := create(0, add(code, 0x20), mload(code))
        }
        eq("not made", made, address(0));
        eq("guardian", channels.guardian(), guardian);
    }
}
