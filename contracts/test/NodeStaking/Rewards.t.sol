// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {INodeStaking as I} from "../../src/interfaces/INodeStaking.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

/// @dev Whole OPEN, since accPerShare cannot tell a few wei apart: at 40,000 OPEN bonded, a unit of it is 40,000 wei.
abstract contract Notified is World {
    function _notify(uint128 amount) internal {
        token.transfer(address(staking), amount);
        vm.prank(address(rewards));
        staking.notify(amount);
    }

    function _accrued(address who) internal view returns (uint128 accrued) {
        (,,, accrued) = staking.nodeOf(who);
    }
}

contract NotifyTest is Notified {
    function test_stakers_share_by_what_is_bonded() public {
        vm.prank(payer);
        staking.bond(STAKE * 3);
        _notify(400 * OPEN);
        eq("node", _accrued(node), 100 * OPEN);
        eq("payer", _accrued(payer), 300 * OPEN);
        eq("notified", staking.totals().notified, 400 * OPEN);
    }

    function test_it_says_what_a_bonded_wei_has_earned() public {
        token.transfer(address(staking), STAKE);
        _emits(address(staking));
        emit I.RewardsNotified(STAKE, 1e18);
        vm.prank(address(rewards));
        staking.notify(STAKE);
        eq("per share", staking.accPerShare(), 1e18);
    }

    /// @dev F: nobody buys in for what was earned before.
    function test_who_bonds_later_earns_nothing_of_before() public {
        _notify(400 * OPEN);
        vm.prank(payer);
        staking.bond(STAKE * 3);
        eq("node", _accrued(node), 400 * OPEN);
        eq("payer", _accrued(payer), 0);
        _notify(400 * OPEN);
        eq("node", _accrued(node), 500 * OPEN);
        eq("payer", _accrued(payer), 300 * OPEN);
    }

    function test_what_unbonds_earns_nothing_and_keeps_what_it_has() public {
        vm.prank(payer);
        staking.bond(STAKE);
        _notify(400 * OPEN);
        vm.prank(node);
        staking.unbond(STAKE);
        _notify(400 * OPEN);
        eq("node", _accrued(node), 200 * OPEN);
        eq("payer", _accrued(payer), 600 * OPEN);
    }

    function test_only_the_rewards_notify() public {
        address[3] memory others = [stranger, node, address(this)];
        for (uint256 i = 0; i < 3; ++i) {
            _refuses(I.NotRewards.selector, abi.encode(others[i]));
            vm.prank(others[i]);
            staking.notify(1);
        }
    }

    function test_with_nobody_bonded_there_is_nobody_to_notify() public {
        vm.prank(node);
        staking.unbond(STAKE);
        _refuses(I.NobodyBonded.selector);
        vm.prank(address(rewards));
        staking.notify(1);
    }

    /// @dev What does not divide is carried on, so that many small amounts are not lost.
    function test_fuzz_no_wei_is_lost_but_fractions(uint128 mine, uint128[8] memory amounts) public {
        mine = uint128(within(mine, 1, 900_000 * OPEN));
        vm.prank(payer);
        staking.bond(mine);
        uint256 sum = 0;
        for (uint256 i = 0; i < 8; ++i) {
            uint128 amount = amounts[i] % (10 * OPEN);
            _notify(amount);
            sum += amount;
        }
        uint256 accrued = uint256(_accrued(node)) + _accrued(payer);
        yes("no more than was notified", accrued <= sum);
        // One wei a staker, and as much again for each 1e18 wei bonded, that a unit of accPerShare stands for.
        yes("and less by dust alone", sum - accrued <= 2 + (uint256(STAKE) + mine) / 1e18);
        yes("each his part", uint256(_accrued(payer)) * (uint256(STAKE) + mine) <= sum * mine);
    }
}

contract ClaimStakerRewardsTest is Notified {
    function test_rewards_are_paid_to_the_payout_address() public {
        vm.prank(node);
        staking.setPayout(bob);
        _notify(400 * OPEN);
        _emits(address(staking));
        emit I.RewardsPaid(node, bob, 400 * OPEN);
        vm.prank(node);
        staking.claimStakerRewards();
        eq("bob", token.balanceOf(bob), 400 * OPEN);
        eq("accrued", _accrued(node), 0);
        eq("paid", staking.totals().rewardsPaid, 400 * OPEN);
        eq("the stake stays", staking.bondedOf(node), STAKE);
    }

    function test_they_are_paid_once() public {
        _notify(400 * OPEN);
        vm.startPrank(node);
        staking.claimStakerRewards();
        _refuses(I.NothingAccrued.selector, abi.encode(node));
        staking.claimStakerRewards();
    }

    function test_a_stranger_has_none() public {
        _notify(400 * OPEN);
        _refuses(I.NothingAccrued.selector, abi.encode(stranger));
        vm.prank(stranger);
        staking.claimStakerRewards();
    }

    function test_who_has_left_still_gets_what_he_had_earned() public {
        vm.prank(payer);
        staking.bond(1);
        _notify(400 * OPEN);
        vm.startPrank(node);
        staking.unbond(STAKE);
        uint256 before = token.balanceOf(node);
        uint256 accrued = _accrued(node);
        staking.claimStakerRewards();
        eq("paid", token.balanceOf(node) - before, accrued);
        yes("nearly all", accrued > 399 * OPEN);
    }

    /// @dev Fractions of a wei are kept with the node until they make one.
    function test_fractions_add_up() public {
        vm.prank(payer);
        staking.bond(STAKE * 2);
        for (uint256 i = 0; i < 3; ++i) {
            _notify(OPEN / 3 * 2 + 1);
            vm.prank(node);
            staking.bond(1);
        }
        uint256 sum = 3 * (OPEN / 3 * 2 + 1);
        yes("less than all", uint256(_accrued(node)) + _accrued(payer) <= sum);
        yes("by what accPerShare cannot tell apart", sum - _accrued(node) - _accrued(payer) <= 3 * STAKE / 1e18 + 3);
    }
}
