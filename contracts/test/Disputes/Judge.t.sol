// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDisputes as I} from "../../src/interfaces/IDisputes.sol";
import {INodeStaking} from "../../src/interfaces/INodeStaking.sol";
import {Cases} from "../support/Cases.sol";
import {vm} from "../support/Vm.sol";

contract JudgeTest is Cases {
    function test_guilty_takes_the_minimum_stake() public {
        bytes32 digest = _challenge(_evidence(0));
        _emits(address(cases));
        emit I.Judged(digest, true, MIN_STAKE, MIN_STAKE / 10);
        _judge(digest, true);
        yes("guilty", cases.caseOf(digest).state == I.State.Guilty);
        eq("bonded", staking.bondedOf(node), STAKE - MIN_STAKE);
        eq("a tenth and the bond", cases.balanceOf(payer), MIN_STAKE / 10 + CASE_BOND);
        eq("the rest", cases.balanceOf(treasury), MIN_STAKE - MIN_STAKE / 10);
        eq("slashed", cases.totals().slashed, MIN_STAKE);
        eq("out", cases.totals().bondsOut, CASE_BOND);
        eq("no hold", staking.heldUntil(node), 0);
        eq("no case", cases.sidesOf(node).challenger, address(0));
        eq("since", cases.recordOf(node).slashedAt, block.timestamp);
    }

    function test_guilty_gives_the_challenger_the_contesters_bond() public {
        bytes32 digest = _challenge(_evidence(0));
        _contestBy(stranger, digest);
        _judge(digest, true);
        eq("both bonds", cases.balanceOf(payer), MIN_STAKE / 10 + 2 * CASE_BOND);
        eq("nothing", cases.balanceOf(stranger), 0);
        eq("out", cases.totals().bondsOut, 2 * CASE_BOND);
    }

    /// @dev F: who unbonds before or while it is judged would keep its stake.
    function test_guilty_takes_what_is_unbonding_too() public {
        vm.prank(node);
        staking.unbond(STAKE - 1);
        vm.warp(block.timestamp + 15 days);
        bytes32 digest = _challenge(_evidence(0));
        vm.warp(block.timestamp + 14 days);
        vm.expectPartialRevert(INodeStaking.StakeHeld.selector);
        vm.prank(node);
        staking.withdraw();
        _judge(digest, true);
        (uint128 bonded, uint128 unbonding) = staking.nodeOf(node);
        eq("left", bonded + unbonding, STAKE - MIN_STAKE);
    }

    function test_guilty_takes_no_more_than_there_is() public {
        vm.startPrank(node);
        staking.unbond(STAKE - 7);
        vm.warp(block.timestamp + 16 days);
        staking.withdraw();
        vm.stopPrank();
        bytes32 digest = _challenge(_evidence(0));
        _judge(digest, true);
        eq("slashed", cases.totals().slashed, 7);
        eq("a tenth, rounded down", cases.balanceOf(payer), CASE_BOND);
        eq("the rest", cases.balanceOf(treasury), 7);
    }

    function test_not_guilty_gives_the_node_the_bond() public {
        bytes32 digest = _challenge(_evidence(0));
        _emits(address(cases));
        emit I.Judged(digest, false, 0, 0);
        _judge(digest, false);
        yes("not guilty", cases.caseOf(digest).state == I.State.NotGuilty);
        eq("the node", cases.balanceOf(node), CASE_BOND);
        eq("the challenger", cases.balanceOf(payer), 0);
        eq("bonded", staking.bondedOf(node), STAKE);
        eq("no hold", staking.heldUntil(node), 0);
        eq("never slashed", cases.recordOf(node).slashedAt, 0);
        eq("nor free", cases.recordOf(node).freeUntil, 0);
    }

    function test_not_guilty_gives_the_contester_both_bonds() public {
        bytes32 digest = _challenge(_evidence(0));
        _contestBy(stranger, digest);
        _judge(digest, false);
        eq("the contester", cases.balanceOf(stranger), 2 * CASE_BOND);
        eq("the node", cases.balanceOf(node), 0);
        eq("the challenger", cases.balanceOf(payer), 0);
        eq("out", cases.totals().bondsOut, 2 * CASE_BOND);
    }

    /// @dev F: whoever could judge could take every stake.
    function test_only_governance() public {
        bytes32 digest = _challenge(_evidence(0));
        address[6] memory others = [payer, node, stranger, guardian, treasury, address(this)];
        for (uint256 i = 0; i < others.length; ++i) {
            _refuses(I.NotJudge.selector, abi.encode(others[i]));
            vm.prank(others[i]);
            cases.judge(digest, true);
        }
    }

    function test_two_weeks_and_no_second_more() public {
        bytes32 digest = _challenge(_evidence(0));
        uint64 openedAt = uint64(block.timestamp);
        vm.warp(openedAt + 14 days + 1);
        _refuses(I.JudgeOver.selector, abi.encode(openedAt));
        _judge(digest, true);
        vm.warp(openedAt + 14 days);
        _judge(digest, true);
    }

    /// @dev F: a guardian could let a case lapse, and the stake leave, with a pause of a week.
    function test_a_pause_moves_the_deadline_and_the_stake_stays() public {
        vm.prank(node);
        staking.unbond(STAKE);
        bytes32 digest = _challenge(_evidence(0));
        vm.prank(guardian);
        rewards.pause(7 days);
        vm.warp(block.timestamp + 21 days);
        _refuses(I.JudgeNotOver.selector, abi.encode(cases.caseOf(digest).openedAt));
        cases.close(digest);
        _judge(digest, true);
        eq("slashed", cases.totals().slashed, MIN_STAKE);
    }

    function test_once() public {
        bytes32 digest = _challenge(_evidence(0));
        _judge(digest, true);
        _refuses(I.NotOpen.selector, abi.encode(digest, I.State.Guilty));
        _judge(digest, true);
        _refuses(I.NotOpen.selector, abi.encode(bytes32("nothing"), I.State.None));
        _judge("nothing", true);
    }

    function test_fuzz_every_wei_of_a_verdict(uint128 stake, bool guilty, bool contested) public {
        stake = uint128(within(stake, 1, STAKE));
        vm.startPrank(node);
        if (stake < STAKE) staking.unbond(STAKE - stake);
        vm.warp(block.timestamp + 16 days);
        if (stake < STAKE) staking.withdraw();
        vm.stopPrank();
        bytes32 digest = _challenge(_evidence(0));
        if (contested) _contestBy(stranger, digest);
        _judge(digest, guilty);
        uint256 slashed = guilty ? (stake < MIN_STAKE ? stake : MIN_STAKE) : 0;
        eq("slashed", cases.totals().slashed, slashed);
        eq("bonds", cases.totals().bondsIn, cases.totals().bondsOut);
        uint256 sum = uint256(cases.balanceOf(payer)) + cases.balanceOf(node) + cases.balanceOf(stranger);
        eq("owed", sum + cases.balanceOf(treasury), cases.totals().bondsOut + slashed);
        eq("held", token.balanceOf(address(cases)), cases.totals().bondsOut + slashed);
    }
}
