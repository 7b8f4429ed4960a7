// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDisputes as I} from "../../src/interfaces/IDisputes.sol";
import {INodeStaking} from "../../src/interfaces/INodeStaking.sol";
import {Cases} from "../support/Cases.sol";
import {vm} from "../support/Vm.sol";

contract CloseTest is Cases {
    function test_a_case_that_nobody_judged_is_a_draw() public {
        bytes32 digest = _challenge(_evidence(0));
        _contestBy(stranger, digest);
        vm.warp(block.timestamp + 14 days + 1);
        _emits(address(cases));
        emit I.Lapsed(digest);
        cases.close(digest);
        yes("draw", cases.caseOf(digest).state == I.State.Draw);
        eq("the challenger", cases.balanceOf(payer), CASE_BOND);
        eq("the contester", cases.balanceOf(stranger), CASE_BOND);
        eq("out", cases.totals().bondsOut, 2 * CASE_BOND);
        eq("bonded", staking.bondedOf(node), STAKE);
        eq("no hold", staking.heldUntil(node), 0);
        eq("free", cases.recordOf(node).freeUntil, block.timestamp + 16 days);
    }

    function test_uncontested_too() public {
        _lapse(_challenge(_evidence(0)));
        eq("the challenger", cases.balanceOf(payer), CASE_BOND);
        eq("the node", cases.balanceOf(node), 0);
        eq("nobody", cases.balanceOf(address(0)), 0);
        eq("out", cases.totals().bondsOut, CASE_BOND);
    }

    function test_not_before_the_judges_time_is_over() public {
        bytes32 digest = _challenge(_evidence(0));
        uint64 openedAt = uint64(block.timestamp);
        vm.warp(openedAt + 14 days);
        _refuses(I.JudgeNotOver.selector, abi.encode(openedAt));
        cases.close(digest);
        vm.warp(openedAt + 14 days + 1);
        cases.close(digest);
    }

    function test_once() public {
        bytes32 digest = _challenge(_evidence(0));
        _lapse(digest);
        _refuses(I.NotOpen.selector, abi.encode(digest, I.State.Draw));
        cases.close(digest);
        _refuses(I.NotOpen.selector, abi.encode(bytes32("nothing"), I.State.None));
        cases.close("nothing");
    }
}

/// @notice Bonds come back when nobody judges, so cases end to end would keep an honest node's stake for nothing.
contract FreeTest is Cases {
    function _unbondAll() private {
        vm.prank(node);
        staking.unbond(STAKE);
    }

    function _leaves() private returns (bool left) {
        vm.prank(node);
        (left,) = address(staking).call(abi.encodeCall(INodeStaking.withdraw, ()));
    }

    /// @dev F: one payer after the other, each with a receipt and a bond that it gets back.
    function test_no_row_of_unjudged_cases_keeps_a_stake() public {
        _lapse(_challenge(_evidence(0)));
        _unbondAll();
        for (uint256 n = 1; n <= 2; ++n) {
            bytes32 digest = _challengeBy(n == 1 ? payer : authorizer, _evidence(n));
            eq("holds nothing", staking.heldUntil(node), 0);
            vm.warp(block.timestamp + 14 days + 1);
            if (n == 1) cases.close(digest);
        }
        yes("leaves", _leaves());
    }

    function test_a_case_holds_again_after_the_free_time_and_not_before() public {
        _lapse(_challenge(_evidence(0)));
        uint64 freeUntil = cases.recordOf(node).freeUntil;
        vm.warp(freeUntil - 1);
        bytes32 digest = _challenge(_evidence(1));
        eq("free", staking.heldUntil(node), 0);
        _judge(digest, false);
        vm.warp(freeUntil);
        digest = _challenge(_evidence(2));
        eq("held", staking.heldUntil(node), freeUntil + 21 days);
        _lapse(digest);
        eq("free again", cases.recordOf(node).freeUntil, block.timestamp + 16 days);
    }

    /// @dev A draw of a case that held nothing gives no free time: the stake was free all the while.
    function test_free_time_does_not_follow_free_time() public {
        _lapse(_challenge(_evidence(0)));
        uint64 freeUntil = cases.recordOf(node).freeUntil;
        vm.warp(freeUntil - 1);
        _lapse(_challenge(_evidence(1)));
        eq("as before", cases.recordOf(node).freeUntil, freeUntil);
        _challenge(_evidence(2));
        yes("held", staking.heldUntil(node) > block.timestamp);
    }

    /// @dev F: a draw that a node gets by a friend's case does not let it escape: what was bonded when a case opened
    /// is there until its judge's time is over.
    function test_in_the_free_time_bonded_stake_answers_too() public {
        _lapse(_challenge(_evidence(0)));
        bytes32 digest = _challenge(_evidence(1));
        _unbondAll();
        vm.warp(block.timestamp + 14 days);
        yes("stays", !_leaves());
        _judge(digest, true);
        eq("slashed", cases.totals().slashed, MIN_STAKE);
    }

    /// @dev A challenge that was wrong costs its bond, so it may hold without a break.
    function test_a_judged_case_gives_no_free_time() public {
        _judge(_challenge(_evidence(0)), false);
        _challenge(_evidence(1));
        yes("held", staking.heldUntil(node) > block.timestamp);
    }

    function test_the_hold_ends_by_itself_if_nobody_closes() public {
        _unbondAll();
        _challenge(_evidence(0));
        vm.warp(block.timestamp + 21 days - 1);
        yes("held", !_leaves());
        vm.warp(block.timestamp + 1);
        yes("leaves", _leaves());
    }
}
