// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {INodeStaking as I, UnbondRequest} from "../../src/interfaces/INodeStaking.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

contract UnbondTest is World {
    function test_what_unbonds_stops_counting_and_stays_within_reach() public {
        uint64 readyAt = uint64(block.timestamp) + windows().unbonding;
        uint256 before = token.balanceOf(node);
        _emits(address(staking));
        emit I.UnbondStarted(node, 7, readyAt);
        vm.prank(node);
        staking.unbond(7);
        (uint128 bonded, uint128 unbonding) = staking.nodeOf(node);
        eq("bonded", bonded, STAKE - 7);
        eq("unbonding", unbonding, 7);
        eq("of all", staking.totals().bonded, STAKE - 7);
        eq("all unbonding", staking.totals().unbonding, 7);
        eq("nothing is paid", token.balanceOf(node), before);
        UnbondRequest[] memory requests = staking.unbondRequests(node);
        eq("requests", requests.length, 1);
        eq("amount", requests[0].amount, 7);
        eq("ready at", requests[0].readyAt, readyAt);
    }

    function test_nothing_cannot_unbond() public {
        _refuses(I.ZeroAmount.selector);
        vm.prank(node);
        staking.unbond(0);
    }

    function test_no_more_than_is_bonded() public {
        _refuses(I.InsufficientBond.selector, abi.encode(STAKE, STAKE + 1));
        vm.prank(node);
        staking.unbond(STAKE + 1);
        _refuses(I.InsufficientBond.selector, abi.encode(0, 1));
        vm.prank(stranger);
        staking.unbond(1);
    }

    function test_there_are_at_most_16_requests() public {
        vm.startPrank(node);
        for (uint256 i = 0; i < 16; ++i) staking.unbond(1);
        _refuses(I.TooManyRequests.selector, abi.encode(16));
        staking.unbond(1);
        vm.warp(block.timestamp + windows().unbonding);
        staking.withdraw();
        staking.unbond(1);
    }
}

contract WithdrawStakeTest is World {
    function test_ripe_requests_are_paid_and_the_others_wait() public {
        uint256 start = block.timestamp;
        vm.startPrank(node);
        staking.unbond(1);
        vm.warp(start + 1 days);
        staking.unbond(10);
        vm.warp(start + 2 days);
        staking.unbond(100);
        vm.warp(start + 1 days + windows().unbonding);
        uint256 before = token.balanceOf(node);
        _emits(address(staking));
        emit I.StakeWithdrawn(node, 11);
        staking.withdraw();
        eq("paid", token.balanceOf(node) - before, 11);
        eq("unbonding", staking.totals().unbonding, 100);
        eq("withdrawn", staking.totals().withdrawn, 11);
        eq("waits", staking.unbondRequests(node)[0].amount, 100);
    }

    /// @dev F: who could leave sooner would be gone before his claims are final.
    function test_not_a_second_before() public {
        vm.startPrank(node);
        staking.unbond(1);
        vm.warp(block.timestamp + windows().unbonding - 1);
        _refuses(I.NothingMatured.selector, abi.encode(uint64(block.timestamp)));
        staking.withdraw();
    }

    function test_it_is_paid_once() public {
        vm.startPrank(node);
        staking.unbond(1);
        vm.warp(block.timestamp + windows().unbonding);
        staking.withdraw();
        _refuses(I.NothingMatured.selector, abi.encode(uint64(block.timestamp)));
        staking.withdraw();
    }

    function test_a_stranger_withdraws_nothing() public {
        vm.prank(node);
        staking.unbond(1);
        vm.warp(block.timestamp + windows().unbonding);
        _refuses(I.NothingMatured.selector, abi.encode(uint64(block.timestamp)));
        vm.prank(stranger);
        staking.withdraw();
    }
}
