// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {INodeStaking as I, UnbondRequest} from "../../src/interfaces/INodeStaking.sol";
import {Values} from "../../src/interfaces/IParams.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

contract SlashTest is World {
    bytes32 private constant EVIDENCE = keccak256("a file");

    function _slash(uint128 amount) private {
        vm.prank(governor);
        staking.slash(node, amount, EVIDENCE);
    }

    /// @dev Three requests of 1, 10 and 100, a day apart, and 500 that stay bonded.
    function _unbondMost() private {
        vm.startPrank(node);
        staking.unbond(STAKE - 611);
        vm.warp(block.timestamp + windows().unbonding);
        staking.withdraw();
        for (uint128 amount = 1; amount < 1_000; amount *= 10) {
            staking.unbond(amount);
            vm.warp(block.timestamp + 1 days);
        }
        vm.stopPrank();
    }

    function test_bonded_stake_goes_first_and_is_burnt() public {
        _unbondMost();
        uint256 held = token.balanceOf(address(staking));
        _emits(address(staking));
        emit I.Slashed(node, 400, EVIDENCE);
        _slash(400);
        eq("bonded", staking.bondedOf(node), 100);
        eq("of all", staking.totals().bonded, 100);
        eq("unbonding", staking.totals().unbonding, 111);
        eq("burnt", token.balanceOf(BURNT), 400);
        eq("held", token.balanceOf(address(staking)), held - 400);
        eq("all slashed", staking.totals().slashed, 400);
        eq("when", staking.slashedAt(node), block.timestamp);
    }

    /// @dev F: who unbonds when it is found out must not be better off than who stays.
    function test_then_the_request_that_would_leave_first() public {
        _unbondMost();
        _slash(506);
        eq("bonded", staking.bondedOf(node), 0);
        UnbondRequest[] memory requests = staking.unbondRequests(node);
        eq("requests", requests.length, 2);
        eq("the next, in part", requests[0].amount, 5);
        eq("the youngest", requests[1].amount, 100);
        eq("unbonding", staking.totals().unbonding, 105);
        vm.warp(block.timestamp + windows().unbonding);
        vm.prank(node);
        staking.withdraw();
        eq("withdrawn", staking.totals().withdrawn, STAKE - 611 + 105);
    }

    function test_no_more_than_there_is() public {
        _unbondMost();
        _slash(MIN_STAKE);
        eq("slashed", staking.totals().slashed, 611);
        eq("requests", staking.unbondRequests(node).length, 0);
        eq("held", token.balanceOf(address(staking)), 0);
        vm.warp(block.timestamp + windows().slashGap);
        _refuses(I.NothingToSlash.selector, abi.encode(node));
        _slash(1);
    }

    function test_nothing() public {
        _refuses(I.NothingToSlash.selector, abi.encode(node));
        _slash(0);
    }

    /// @dev F: one vote could take what a hundred nodes' worth of stake was put in for.
    function test_at_most_the_minimum_stake_of_the_day() public {
        _refuses(I.SlashTooLarge.selector, abi.encode(MIN_STAKE + 1, MIN_STAKE));
        _slash(MIN_STAKE + 1);
        Values memory v = values();
        v.minStake = 2 * MIN_STAKE;
        vm.prank(governor);
        params.set(v);
        vm.warp(block.timestamp + 1 days);
        _refuses(I.SlashTooLarge.selector, abi.encode(2 * MIN_STAKE, MIN_STAKE));
        _slash(2 * MIN_STAKE);
        vm.warp(block.timestamp + 1 days);
        _slash(2 * MIN_STAKE);
        eq("slashed", staking.totals().slashed, 2 * MIN_STAKE);
    }

    /// @dev F: by one fault of a software, vote upon vote could take everything before its operator has mended it.
    function test_once_in_the_gap() public {
        _slash(1);
        uint64 until = uint64(block.timestamp) + windows().slashGap;
        vm.warp(until - 1);
        _refuses(I.SlashedLately.selector, abi.encode(node, until));
        _slash(1);
        vm.warp(until);
        _slash(1);
        eq("slashed", staking.totals().slashed, 2);
    }

    function test_a_slash_is_for_one_node() public {
        vm.prank(payer);
        staking.bond(9);
        _slash(1);
        vm.prank(governor);
        staking.slash(payer, 9, EVIDENCE);
        eq("the other", staking.bondedOf(node), STAKE - 1);
    }

    /// @dev F: whoever could slash could empty every node's stake.
    function test_only_governance_slashes() public {
        address[4] memory others = [stranger, guardian, address(rewards), node];
        for (uint256 i = 0; i < others.length; ++i) {
            _refuses(I.NotGovernor.selector, abi.encode(others[i]));
            vm.prank(others[i]);
            staking.slash(node, 1, EVIDENCE);
        }
    }

    function test_fuzz_what_is_slashed_is_gone_and_no_more(uint128 amount, uint128[4] memory unbonds) public {
        uint128 unbonding = 0;
        amount = uint128(within(amount, 1, MIN_STAKE));
        vm.startPrank(node);
        staking.unbond(STAKE - MIN_STAKE / 2);
        vm.warp(block.timestamp + windows().unbonding);
        staking.withdraw();
        for (uint256 i = 0; i < 4; ++i) {
            unbonds[i] = uint128(within(unbonds[i], 1, MIN_STAKE / 8));
            staking.unbond(unbonds[i]);
            unbonding += unbonds[i];
        }
        vm.stopPrank();
        _slash(amount);
        uint128 taken = amount < MIN_STAKE / 2 ? amount : MIN_STAKE / 2;
        uint128 bondedBefore = MIN_STAKE / 2 - unbonding;
        eq("burnt", token.balanceOf(BURNT), taken);
        (uint128 bonded, uint128 left) = staking.nodeOf(node);
        eq("bonded first", bonded, taken < bondedBefore ? bondedBefore - taken : 0);
        eq("the rest", uint256(bonded) + left + taken, MIN_STAKE / 2);
        eq("total bonded", staking.totals().bonded, bonded);
        eq("total unbonding", staking.totals().unbonding, left);
    }
}
