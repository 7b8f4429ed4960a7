// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IPause as I} from "../../src/interfaces/IPause.sol";
import {Payout} from "../../src/interfaces/Types.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

contract PauseTest is World {
    function _pause(uint64 duration) private {
        vm.prank(guardian);
        rewards.pause(duration);
    }

    function test_it_begins_at_once_and_ends_by_itself() public {
        uint64 start = uint64(block.timestamp);
        rewards.requireActive();
        _emits(address(rewards));
        emit I.Paused(start, start + 60);
        _pause(60);
        (uint64 from, uint64 until, uint64 fromBlock) = rewards.latestPause();
        eq("from", from, start);
        eq("until", until, start + 60);
        eq("block", fromBlock, vm.getBlockNumber());
        vm.warp(start + 59);
        _refuses(I.InPause.selector, abi.encode(start + 60));
        rewards.requireActive();
        vm.warp(start + 60);
        rewards.requireActive();
    }

    function test_only_the_guardian_pauses() public {
        address[4] memory others = [stranger, governor, node, address(this)];
        for (uint256 i = 0; i < others.length; ++i) {
            _refuses(I.NotGuardian.selector, abi.encode(others[i]));
            vm.prank(others[i]);
            rewards.pause(60);
        }
    }

    function test_it_lasts_a_week_at_most_and_some_time_at_least() public {
        _refuses(I.BadDuration.selector, abi.encode(7 days + 1, 7 days));
        _pause(7 days + 1);
        _refuses(I.BadDuration.selector, abi.encode(0, 7 days));
        _pause(0);
        _pause(7 days);
    }

    /// @dev F: pauses end to end would be a stop for ever.
    function test_the_next_one_is_far_from_the_last() public {
        uint64 start = uint64(block.timestamp);
        _pause(60);
        vm.warp(start + 60 + 30 days - 1);
        _refuses(I.TooSoon.selector, abi.encode(start + 60 + 30 days));
        _pause(60);
        vm.warp(start + 60 + 30 days);
        _pause(60);
    }

    function test_time_in_a_pause_does_not_count() public {
        uint64 start = uint64(block.timestamp);
        eq("now", rewards.activeSince(start), 0);
        eq("a time to come", rewards.activeSince(start + 5), 0);
        vm.warp(start + 10);
        eq("without a pause", rewards.activeSince(start), 10);
        _pause(100);
        vm.warp(start + 50);
        eq("in it", rewards.activeSince(start), 10);
        eq("from within", rewards.activeSince(start + 20), 0);
        vm.warp(start + 115);
        eq("after it", rewards.activeSince(start), 15);
        eq("from within", rewards.activeSince(start + 20), 5);
        eq("since", rewards.activeSince(start + 112), 3);
    }

    /// @dev Only the newest pause is kept. With pauses as close as they may be, that decides every time limit as all
    /// pauses together would.
    function test_fuzz_older_pauses_never_matter(uint64 since, uint64[3] memory durations, uint64 later) public {
        uint64 start = uint64(block.timestamp);
        uint64 now_ = start;
        since = start + uint64(within(since, 0, 120 days));
        uint64[3] memory from;
        for (uint256 i = 0; i < 3; ++i) {
            durations[i] = uint64(within(durations[i], 1, 7 days));
            from[i] = now_;
            _pause(durations[i]);
            _isOverAsItShould(since, from, durations, i);
            now_ += uint64(within(later, 1, 40 days));
            if (now_ < from[i] + durations[i] + 30 days) now_ = from[i] + durations[i] + 30 days;
            vm.warp(now_ - 1);
            _isOverAsItShould(since, from, durations, i);
            vm.warp(now_);
        }
    }

    function _isOverAsItShould(uint64 since, uint64[3] memory from, uint64[3] memory durations, uint256 last)
        private
        view
    {
        if (since >= block.timestamp) return;
        uint256 active = block.timestamp - since;
        for (uint256 i = 0; i <= last; ++i) {
            uint256 end = from[i] + durations[i] < block.timestamp ? from[i] + durations[i] : block.timestamp;
            uint256 begin = from[i] > since ? from[i] : since;
            if (end > begin) active -= end - begin;
        }
        yes("over", (rewards.activeSince(since) > windows().propose) == (active > windows().propose));
    }

    /// @dev The paused seconds and the others are all seconds there were.
    function test_fuzz_active_and_paused_time_sum_up(uint64 since, uint64 duration, uint64 later) public {
        uint64 start = uint64(block.timestamp);
        duration = uint64(within(duration, 1, 7 days));
        _pause(duration);
        vm.warp(start + within(later, 1, 100 days));
        since = uint64(within(since, start - 10 days, block.timestamp));
        uint256 paused = 0;
        uint256 end = block.timestamp < start + duration ? block.timestamp : start + duration;
        if (end > since) paused = end - (since > start ? since : start);
        eq("seconds", rewards.activeSince(since) + paused, block.timestamp - since);
    }

    function test_no_channel_opens_in_a_pause_and_all_else_goes_on() public {
        _open(1);
        _pause(7 days);
        _refuses(I.InPause.selector, abi.encode(block.timestamp + 7 days));
        vm.prank(payer);
        channels.open(_config(2), DEPOSIT);
        vm.startPrank(payer);
        channels.topUp(_config(1), 5);
        channels.startWithdraw(_config(1), 5);
        vm.warp(block.timestamp + DELAY);
        channels.finishWithdraw(_config(1));
        vm.stopPrank();
        _refund(_config(1), 5, 0);
        _propose(_claim(_ids(ONE), _items(_lane(_config(1), ONE, 0, 0, 5))), new Payout[](0));
        eq("claimed", channels.totals().live, 5);
    }

    function test_without_a_guardian_nothing_can_be_deployed() public {
        bytes memory arguments = abi.encode(token, params, channels, staking, datanets, address(0), treasury);
        bytes memory code = abi.encodePacked(vm.getCode("AttributionRewards.sol:AttributionRewards"), arguments);
        bytes4 reason;
        assembly ("memory-safe") {
            if create(0, add(code, 0x20), mload(code)) { revert(0, 0) }
            returndatacopy(0, 0, 4)
            reason := mload(0)
        }
        eq("reason", bytes32(reason), bytes32(I.ZeroGuardian.selector));
    }
}
