// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttributionRewards as I} from "../../src/interfaces/IAttributionRewards.sol";
import {ClaimRecord, Payout, PPM} from "../../src/interfaces/Types.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

contract FinalizeTest is World {
    function _final(ClaimRecord memory record, Payout[] memory payouts) private {
        _proposed(record, payouts);
        vm.prank(stranger);
        rewards.finalize(record, payouts);
    }

    function test_everybody_is_credited_in_one_step_by_whoever_comes() public {
        ClaimRecord memory record = _claimed(ONE);
        _final(record, _payouts(record, alice));
        eq("node", rewards.balanceOf(node), 60 * OPEN);
        eq("adapter's owner", rewards.balanceOf(maker), 10 * OPEN);
        eq("Datanet's owner", rewards.balanceOf(curator), 1.2e18);
        eq("contributor", rewards.balanceOf(alice), 18.8e18);
        eq("protocol", rewards.balanceOf(treasury), 5 * OPEN);
        eq("stakers", staking.totals().notified, 5 * OPEN);
        eq("held", token.balanceOf(address(rewards)), 95 * OPEN);
        eq("held by staking", token.balanceOf(address(staking)), STAKE + 5 * OPEN);
        eq("released", rewards.totals().released, DEPOSIT);
        eq("credited", rewards.totals().credited, 95 * OPEN);
        eq("notified", rewards.totals().notified, 5 * OPEN);
        (,,,, I.State state) = rewards.proposalOf(node, 0);
        yes("state", state == I.State.Finalized);
    }

    function test_it_says_who_was_credited_and_why() public {
        ClaimRecord memory record = _claimed(ONE);
        Payout[] memory payouts = _payouts(record, alice);
        payouts[1].account = address(0);
        _proposed(record, payouts);
        _emits(address(rewards));
        emit I.Credited(alice, node, 0, 10.8e18, 3);
        _emits(address(rewards));
        emit I.Credited(secondTreasury, node, 0, 8 * OPEN, 4);
        _emits(address(rewards));
        emit I.Credited(node, node, 0, 60 * OPEN, 0);
        _emits(address(rewards));
        emit I.Credited(maker, node, 0, 10 * OPEN, 1);
        _emits(address(rewards));
        emit I.Credited(curator, node, 0, 1.2e18, 1);
        _emits(address(rewards));
        emit I.Credited(treasury, node, 0, 5 * OPEN, 5);
        _emits(address(rewards));
        emit I.Finalized(node, 0, false);
        _emits(address(rewards));
        emit I.StakersNotified(5 * OPEN);
        rewards.finalize(record, payouts);
    }

    /// @dev F: nobody is paid before the list is final; the node's own share is the bond behind it.
    function test_not_a_second_before_the_window_has_passed() public {
        ClaimRecord memory record = _claimed(ONE);
        Payout[] memory payouts = _payouts(record, alice);
        _propose(record, payouts);
        uint64 readyAt = uint64(block.timestamp) + windows().window;
        vm.warp(readyAt - 1);
        _refuses(I.NotReady.selector, abi.encode(readyAt));
        rewards.finalize(record, payouts);
        eq("node", rewards.balanceOf(node), 0);
    }

    function test_without_a_proposal_there_is_nothing_to_finalize() public {
        ClaimRecord memory record = _claimed(ONE);
        _refuses(I.NotProposed.selector, abi.encode(node, 0, I.State.None));
        rewards.finalize(record, _payouts(record, alice));
    }

    /// @dev F: what is credited is what lay open for objection, not what the caller brings.
    function test_another_list_than_proposed_is_refused() public {
        ClaimRecord memory record = _claimed(ONE);
        Payout[] memory payouts = _payouts(record, alice);
        Payout[] memory others = _payouts(record, stranger);
        _proposed(record, payouts);
        _refuses(
            I.PayoutsMismatch.selector, abi.encode(keccak256(abi.encode(payouts)), keccak256(abi.encode(others)))
        );
        vm.prank(stranger);
        rewards.finalize(record, others);
    }

    function test_another_record_than_claimed_is_refused() public {
        ClaimRecord memory record = _claimed(ONE);
        Payout[] memory payouts = _payouts(record, alice);
        _proposed(record, payouts);
        (record.nodeShare, record.protocol) = (record.nodeShare + 1, record.protocol - 1);
        _refuses(I.UnknownClaim.selector, abi.encode(node, 0));
        rewards.finalize(record, payouts);
    }

    function test_a_claim_is_final_once() public {
        ClaimRecord memory record = _claimed(ONE);
        Payout[] memory payouts = _payouts(record, alice);
        _final(record, payouts);
        _refuses(I.UnknownClaim.selector, abi.encode(node, 0));
        rewards.finalize(record, payouts);
        _refuses(I.UnknownClaim.selector, abi.encode(node, 0));
        rewards.finalizeLate(record);
    }

    /// @dev F: a Datanet's owner who runs a silent node would be paid for hiding its contributors, if it were his treasury.
    function test_a_silent_node_does_not_get_its_own_datanets_unlisted_pot() public {
        ClaimRecord memory record = _claimed(ONE);
        Payout[] memory payouts = new Payout[](1);
        payouts[0] = _payout(1, alice, PPM * record.pots[1].gross);
        _final(record, payouts);
        eq("first treasury", rewards.balanceOf(firstTreasury), 0);
        eq("owner has his share and no more", rewards.balanceOf(curator), 1.2e18);
        eq("protocol has the pot", rewards.balanceOf(treasury), 5 * OPEN + 10.8e18);
        eq("the listed pot is paid", rewards.balanceOf(alice), 8 * OPEN);
    }

    function test_a_list_of_nothing_gives_all_pots_to_the_protocol() public {
        ClaimRecord memory record = _claimed(ONE);
        _final(record, new Payout[](0));
        eq("protocol", rewards.balanceOf(treasury), 5 * OPEN + 18.8e18);
    }

    function test_account_zero_and_dust_are_the_datanets_treasurys() public {
        ClaimRecord memory record = _claim(_ids(TWO), _items(_item(_open(1), 0, 999, 0)));
        eq("pot", record.pots[0].amount, 180);
        Payout[] memory payouts = new Payout[](3);
        payouts[0] = _payout(0, address(0), 333 * PPM);
        payouts[1] = _payout(0, alice, 334 * PPM);
        payouts[2] = _payout(0, bob, 332 * PPM);
        _final(record, payouts);
        eq("alice", rewards.balanceOf(alice), uint256(180) * 334 / 999);
        eq("bob", rewards.balanceOf(bob), uint256(180) * 332 / 999);
        eq("treasury", rewards.balanceOf(firstTreasury), 180 - 60 - 59);
    }

    function test_earnings_go_where_the_node_wants_them() public {
        vm.prank(node);
        staking.setPayout(bob);
        ClaimRecord memory record = _claimed(BASE);
        _final(record, new Payout[](0));
        eq("bob", rewards.balanceOf(bob), 90 * OPEN);
        eq("node", rewards.balanceOf(node), 0);
    }

    /// @dev Stakers of whom there are none would lock their share for ever.
    function test_without_stakers_their_share_is_the_protocols() public {
        ClaimRecord memory record = _claimed(BASE);
        vm.prank(node);
        staking.unbond(STAKE);
        _final(record, new Payout[](0));
        eq("protocol", rewards.balanceOf(treasury), 10 * OPEN);
        eq("notified", rewards.totals().notified, 0);
        eq("credited", rewards.totals().credited, DEPOSIT);
    }

    function test_balances_add_up_over_claims() public {
        for (uint256 i = 1; i < 4; ++i) {
            ClaimRecord memory record = _claimed(BASE);
            _final(record, new Payout[](0));
            eq("node", rewards.balanceOf(node), i * 90 * OPEN);
        }
    }

    /// @dev Σ payouts ≤ pot; what is left is the treasury's; nobody gets more than his part.
    function test_fuzz_payouts_never_exceed_the_pot(uint128 gross, uint256 seed, uint8 count) public {
        gross = uint128(within(gross, 1, DEPOSIT));
        uint256 num = within(count, 1, 12);
        ClaimRecord memory record = _claim(_ids(TWO), _items(_item(_open(1), 0, gross, 0)));
        Payout[] memory payouts = _random(PPM * gross, seed, num);
        _final(record, payouts);
        uint256 paid = rewards.balanceOf(firstTreasury);
        for (uint256 i = 0; i < payouts.length; ++i) {
            if (payouts[i].account == address(0)) continue;
            uint256 exact = uint256(record.pots[0].amount) * payouts[i].weight / (PPM * gross);
            eq("payout", rewards.balanceOf(payouts[i].account), exact);
            paid += exact;
        }
        eq("the pot and no more", paid, record.pots[0].amount);
    }

    function _random(uint256 whole, uint256 seed, uint256 num) private pure returns (Payout[] memory payouts) {
        payouts = new Payout[](num);
        uint256 rest = whole;
        for (uint256 i = 0; i < num; ++i) {
            uint256 weight = i + 1 == num ? rest : within(uint256(keccak256(abi.encode(seed, i))), 1, rest / 2);
            payouts[i] = _payout(0, i == 0 && seed % 2 == 0 ? address(0) : address(uint160(0xD000 + i)), weight);
            rest -= weight;
        }
    }
}
