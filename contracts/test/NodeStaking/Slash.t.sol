// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {INodeStaking as I, UnbondRequest} from "../../src/interfaces/INodeStaking.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

contract SlashTest is World {
    function _slash(uint128 amount) private returns (uint128) {
        vm.prank(disputes);
        return staking.slash(node, amount);
    }

    /// @dev Three requests of 1, 10 and 100, a day apart, and 1,000 that stay bonded.
    function _unbondMost() private {
        vm.startPrank(node);
        staking.unbond(STAKE - 1_111);
        vm.warp(block.timestamp + windows().unbonding);
        staking.withdraw();
        for (uint128 amount = 1; amount < 1_000; amount *= 10) {
            staking.unbond(amount);
            vm.warp(block.timestamp + 1 days);
        }
        vm.stopPrank();
    }

    function test_bonded_stake_goes_first() public {
        _unbondMost();
        uint256 held = token.balanceOf(address(staking));
        _emits(address(staking));
        emit I.Slashed(node, 400);
        eq("slashed", _slash(400), 400);
        eq("bonded", staking.bondedOf(node), 600);
        eq("of all", staking.totals().bonded, 600);
        eq("unbonding", staking.totals().unbonding, 111);
        eq("to Disputes", token.balanceOf(disputes), 400);
        eq("held", token.balanceOf(address(staking)), held - 400);
        eq("all slashed", staking.totals().slashed, 400);
    }

    /// @dev F: who unbonds when it is found out must not be better off than who stays.
    function test_then_the_youngest_request() public {
        _unbondMost();
        eq("slashed", _slash(1_105), 1_105);
        eq("bonded", staking.bondedOf(node), 0);
        UnbondRequest[] memory requests = staking.unbondRequests(node);
        eq("requests", requests.length, 2);
        eq("the oldest", requests[0].amount, 1);
        eq("the next, in part", requests[1].amount, 5);
        eq("unbonding", staking.totals().unbonding, 6);
        vm.warp(block.timestamp + windows().unbonding);
        vm.prank(node);
        staking.withdraw();
        eq("withdrawn", staking.totals().withdrawn, STAKE - 1_111 + 6);
    }

    function test_no_more_than_there_is() public {
        _unbondMost();
        eq("slashed", _slash(type(uint128).max), 1_111);
        eq("requests", staking.unbondRequests(node).length, 0);
        eq("held", token.balanceOf(address(staking)), 0);
        eq("nothing left", _slash(1), 0);
    }

    function test_the_youngest_is_the_last_also_after_a_withdrawal() public {
        _unbondMost();
        vm.warp(block.timestamp + windows().unbonding - 3 days);
        vm.prank(node);
        staking.withdraw();
        eq("slashed", _slash(1_050), 1_050);
        UnbondRequest[] memory requests = staking.unbondRequests(node);
        eq("requests", requests.length, 2);
        eq("the older", requests[0].amount, 10);
        eq("the younger", requests[1].amount, 50);
    }

    function test_a_slashed_node_claims_nothing() public {
        _slash(STAKE - MIN_STAKE + 1);
        eq("bonded", staking.bondedOf(node), MIN_STAKE - 1);
    }

    /// @dev F: whoever could slash could empty every node's stake.
    function test_only_disputes_slashes() public {
        address[5] memory others = [stranger, governor, guardian, address(rewards), node];
        for (uint256 i = 0; i < others.length; ++i) {
            _refuses(I.NotDisputes.selector, abi.encode(others[i]));
            vm.prank(others[i]);
            staking.slash(node, 1);
        }
    }

    function test_fuzz_what_is_slashed_is_gone_and_no_more(uint128 amount, uint128[4] memory unbonds) public {
        uint128 unbonding = 0;
        vm.startPrank(node);
        for (uint256 i = 0; i < 4; ++i) {
            unbonds[i] = uint128(within(unbonds[i], 1, STAKE / 4));
            staking.unbond(unbonds[i]);
            unbonding += unbonds[i];
        }
        vm.stopPrank();
        uint128 taken = _slash(amount);
        eq("taken", taken, amount < STAKE ? amount : STAKE);
        (uint128 bonded, uint128 left) = staking.nodeOf(node);
        eq("bonded first", bonded, amount < STAKE - unbonding ? STAKE - unbonding - amount : 0);
        eq("the rest", uint256(bonded) + left + taken, STAKE);
        eq("total bonded", staking.totals().bonded, bonded);
        eq("total unbonding", staking.totals().unbonding, left);
    }
}

contract HoldTest is World {
    function _hold(uint64 until) private {
        vm.prank(disputes);
        staking.hold(node, until);
    }

    function _ripe() private {
        vm.prank(node);
        staking.unbond(7);
        vm.warp(block.timestamp + windows().unbonding);
    }

    /// @dev F: stake that was unbonding already could leave before the case is judged.
    function test_held_stake_does_not_leave() public {
        _ripe();
        uint64 until = uint64(block.timestamp) + 16 days;
        _emits(address(staking));
        emit I.Held(node, until);
        _hold(until);
        eq("until", staking.heldUntil(node), until);
        vm.warp(until - 1);
        _refuses(I.StakeHeld.selector, abi.encode(until));
        vm.prank(node);
        staking.withdraw();
        vm.warp(until);
        vm.prank(node);
        staking.withdraw();
        eq("withdrawn", staking.totals().withdrawn, 7);
    }

    function test_a_hold_can_end_before() public {
        _ripe();
        _hold(uint64(block.timestamp) + 1 days);
        _hold(0);
        vm.prank(node);
        staking.withdraw();
    }

    /// @dev F: a hold without an end would keep an honest node's stake, whatever goes wrong in Disputes.
    function test_no_hold_is_longer_than_the_longest_case() public {
        uint64 max = uint64(block.timestamp) + 2 days + 14 days + 7 days;
        _refuses(I.HeldTooLong.selector, abi.encode(max + 1, max));
        _hold(max + 1);
        _hold(max);
    }

    function test_a_hold_is_for_one_node() public {
        vm.startPrank(payer);
        staking.bond(9);
        staking.unbond(9);
        vm.stopPrank();
        _ripe();
        _hold(uint64(block.timestamp) + 1 days);
        vm.prank(payer);
        staking.withdraw();
    }

    function test_only_disputes_holds() public {
        address[5] memory others = [stranger, governor, guardian, address(rewards), node];
        for (uint256 i = 0; i < others.length; ++i) {
            _refuses(I.NotDisputes.selector, abi.encode(others[i]));
            vm.prank(others[i]);
            staking.hold(node, 1);
        }
    }
}
