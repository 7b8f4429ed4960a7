// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttributionRewards as I} from "../../src/interfaces/IAttributionRewards.sol";
import {ClaimRecord, Payout} from "../../src/interfaces/Types.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

contract FinalizeLateTest is World {
    function _late(ClaimRecord memory record) private {
        vm.warp(record.claimedAt + windows().propose + 1);
        vm.prank(stranger);
        rewards.finalizeLate(record);
    }

    /// @dev F: a node that names nobody loses a tenth of its own, and what it kept quiet about goes neither to it nor
    /// to a Datanet's treasury, which might be its own.
    function test_a_silent_node_and_its_own_datanet_get_no_pot() public {
        ClaimRecord memory record = _claimed(ONE);
        _late(record);
        eq("node", rewards.balanceOf(node), 58.5e18);
        eq("protocol", rewards.balanceOf(treasury), 5 * OPEN + 18.8e18 + 6.5e18);
        eq("first treasury", rewards.balanceOf(firstTreasury), 0);
        eq("second treasury", rewards.balanceOf(secondTreasury), 0);
        eq("adapter's owner", rewards.balanceOf(maker), 10 * OPEN);
        eq("Datanet's owner", rewards.balanceOf(curator), 1.2e18);
        yes("state", rewards.proposalOf(node, 0).state == I.State.FinalizedLate);
    }

    function test_it_says_that_it_was_late() public {
        ClaimRecord memory record = _claimed(BASE);
        vm.warp(record.claimedAt + windows().propose + 1);
        _emits(address(rewards));
        emit I.Finalized(node, 0, true);
        rewards.finalizeLate(record);
    }

    function test_the_fee_is_rounded_down() public {
        ClaimRecord memory record = _claim(_ids(BASE), _items(_item(_open(1), 0, 19)));
        eq("node share", record.nodeShare, 19);
        _late(record);
        eq("node", rewards.balanceOf(node), 18);
        eq("protocol", rewards.balanceOf(treasury), 1);
    }

    function test_not_before_the_time_to_propose_is_over() public {
        ClaimRecord memory record = _claimed(ONE);
        uint64 deadline = record.claimedAt + windows().propose;
        vm.warp(deadline);
        _refuses(I.NotOver.selector, abi.encode(record.claimedAt));
        rewards.finalizeLate(record);
    }

    /// @dev F: a list that cannot be shown must cost more than silence, and not all that the node has.
    function test_a_list_that_is_not_shown_in_time_costs_half_of_all_pots() public {
        ClaimRecord memory record = _claimed(ONE);
        _proposed(record, _payouts(record, node));
        _overdue(record);
        eq("node", rewards.balanceOf(node), 65 * OPEN - 9.4e18);
        eq("protocol", rewards.balanceOf(treasury), 5 * OPEN + 18.8e18 + 9.4e18);
        eq("first treasury", rewards.balanceOf(firstTreasury), 0);
        eq("adapter's owner", rewards.balanceOf(maker), 10 * OPEN);
        yes("state", rewards.proposalOf(node, 0).state == I.State.FinalizedLate);
    }

    function test_each_draw_that_lapsed_is_paid_for() public {
        ClaimRecord memory record = _claimed(ONE);
        _proposed(record, _payouts(record, node));
        for (uint256 i = 0; i < 3; ++i) {
            vm.prank(signer);
            rewards.draw(node, 0);
            vm.roll(vm.getBlockNumber() + windows().redrawBlocks + 2);
        }
        _overdue(record);
        eq("node", rewards.balanceOf(node), 65 * OPEN - 3 * 9.4e18);
    }

    function test_all_draws_that_may_lapse_are_covered_by_the_nodes_share() public {
        ClaimRecord memory record = _claimed(ONE);
        _proposed(record, _payouts(record, node));
        for (uint256 i = 0; i < 6; ++i) {
            vm.prank(signer);
            rewards.draw(node, 0);
            vm.roll(vm.getBlockNumber() + windows().redrawBlocks + 2);
        }
        _refuses(I.NoDrawsLeft.selector, abi.encode(5));
        vm.prank(signer);
        rewards.draw(node, 0);
        _overdue(record);
        eq("node", rewards.balanceOf(node), 65 * OPEN - 6 * 9.4e18);
    }

    function test_a_list_has_the_same_time_to_become_final() public {
        ClaimRecord memory record = _claimed(ONE);
        _proposed(record, _payouts(record, alice));
        uint64 readyAt = uint64(block.timestamp);
        vm.warp(readyAt + windows().propose);
        _refuses(I.NotOver.selector, abi.encode(readyAt));
        rewards.finalizeLate(record);
    }

    /// @dev The fee is for money that could have been moved, and here is none.
    function test_a_claim_without_pots_pays_nothing_for_a_late_end() public {
        ClaimRecord memory record = _claimed(BASE);
        _proposed(record, new Payout[](0));
        _overdue(record);
        eq("node", rewards.balanceOf(node), 95 * OPEN);
    }

    function _overdue(ClaimRecord memory record) private {
        vm.warp(rewards.proposalOf(node, record.seq).readyAt + windows().propose + 1);
        vm.prank(stranger);
        rewards.finalizeLate(record);
    }

    function test_another_record_than_claimed_is_refused() public {
        ClaimRecord memory record = _claimed(ONE);
        record.claimedAt -= 1;
        vm.warp(record.claimedAt + windows().propose + 1);
        _refuses(I.UnknownClaim.selector, abi.encode(node, 0));
        rewards.finalizeLate(record);
    }

    function test_it_is_final_once() public {
        ClaimRecord memory record = _claimed(ONE);
        _late(record);
        _refuses(I.UnknownClaim.selector, abi.encode(node, 0));
        rewards.finalizeLate(record);
    }

    function test_fuzz_a_late_claim_sums_exactly(uint128 gross) public {
        gross = uint128(within(gross, 1, DEPOSIT));
        ClaimRecord memory record = _claim(_ids(ONE), _items(_lane(_open(1), ONE, 0, 0, gross)));
        _late(record);
        uint256 sum = uint256(rewards.balanceOf(node)) + rewards.balanceOf(treasury) + rewards.balanceOf(maker)
            + rewards.balanceOf(curator);
        eq("sum", sum, gross);
        eq("node", rewards.balanceOf(node), record.nodeShare - record.nodeShare / 10);
    }
}
