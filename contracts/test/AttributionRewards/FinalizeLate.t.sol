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

    /// @dev F: a node that names nobody loses a tenth of its own, and what it kept quiet about goes neither to it nor to a
    /// Datanet's treasury, which might be its own.
    function test_a_silent_node_and_its_own_datanet_get_no_pot() public {
        ClaimRecord memory record = _claimed(ONE);
        _late(record);
        eq("node", rewards.balanceOf(node), 54 * OPEN);
        eq("protocol", rewards.balanceOf(treasury), 5 * OPEN + 18.8e18 + 6 * OPEN);
        eq("first treasury", rewards.balanceOf(firstTreasury), 0);
        eq("second treasury", rewards.balanceOf(secondTreasury), 0);
        eq("adapter's owner", rewards.balanceOf(maker), 10 * OPEN);
        eq("Datanet's owner", rewards.balanceOf(curator), 1.2e18);
        eq("stakers", staking.totals().notified, 5 * OPEN);
        (,,,, I.State state) = rewards.proposalOf(node, 0);
        yes("state", state == I.State.FinalizedLate);
    }

    function test_it_says_that_it_was_late() public {
        ClaimRecord memory record = _claimed(BASE);
        vm.warp(record.claimedAt + windows().propose + 1);
        _emits(address(rewards));
        emit I.Finalized(node, 0, true);
        rewards.finalizeLate(record);
    }

    function test_the_fee_is_rounded_down() public {
        ClaimRecord memory record = _claim(_ids(BASE), _items(_item(_open(1), 0, 19, 0)));
        eq("node share", record.nodeShare, 19);
        _late(record);
        eq("node", rewards.balanceOf(node), 18);
        eq("protocol", rewards.balanceOf(treasury), 1);
    }

    function test_not_before_the_time_to_propose_is_over() public {
        ClaimRecord memory record = _claimed(ONE);
        uint64 deadline = record.claimedAt + windows().propose;
        vm.warp(deadline);
        _refuses(I.ProposeNotOver.selector, abi.encode(deadline));
        rewards.finalizeLate(record);
    }

    function test_a_claim_with_a_proposal_is_not_late() public {
        ClaimRecord memory record = _claimed(ONE);
        _propose(record, _payouts(record, alice));
        vm.warp(record.claimedAt + windows().propose + 1);
        _refuses(I.AlreadyProposed.selector, abi.encode(node, 0));
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
        ClaimRecord memory record = _claim(_ids(ONE), _items(_item(_open(1), 0, gross, 0)));
        _late(record);
        uint256 sum = uint256(rewards.balanceOf(node)) + rewards.balanceOf(treasury) + rewards.balanceOf(maker)
            + rewards.balanceOf(curator) + staking.totals().notified;
        eq("sum", sum, gross);
        eq("node", rewards.balanceOf(node), record.nodeShare - record.nodeShare / 10);
    }
}
