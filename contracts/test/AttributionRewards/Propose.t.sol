// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttributionRewards as I} from "../../src/interfaces/IAttributionRewards.sol";
import {ClaimRecord, Payout, PPM} from "../../src/interfaces/Types.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

contract ProposeTest is World {
    function _sound() private returns (ClaimRecord memory record, Payout[] memory payouts) {
        record = _claimed(ONE);
        payouts = _payouts(record, alice);
    }

    function _send(ClaimRecord memory record, Payout[] memory payouts) private {
        vm.prank(signer);
        rewards.propose(record, "receipts", payouts);
    }

    function test_a_proposal_is_kept_and_waits_for_the_window() public {
        (ClaimRecord memory record, Payout[] memory payouts) = _sound();
        uint64 expected = uint64(block.timestamp) + windows().window;
        _emits(address(rewards));
        emit I.Proposed(node, 0, "receipts", payouts, expected);
        _send(record, payouts);
        I.Proposal memory proposal = rewards.proposalOf(node, 0);
        eq("root", proposal.receiptsRoot, "receipts");
        eq("payouts", proposal.payoutsHash, keccak256(abi.encode(payouts)));
        eq("ready at", proposal.readyAt, expected);
        eq("not drawn", proposal.drawBlock, 0);
        yes("state", proposal.state == I.State.Proposed);
        eq("nobody is paid", rewards.totals().credited, 0);
    }

    /// @dev F: else a stranger names himself the contributor of everybody's data.
    function test_only_a_signer_of_the_node_proposes() public {
        (ClaimRecord memory record,) = _sound();
        Payout[] memory own = _payouts(record, stranger);
        address[3] memory others = [stranger, payer, governor];
        for (uint256 i = 0; i < others.length; ++i) {
            _refuses(I.NotSigner.selector, abi.encode(node, others[i]));
            vm.prank(others[i]);
            rewards.propose(record, "receipts", own);
        }
        vm.prank(node);
        rewards.propose(record, "receipts", own);
    }

    function test_a_revoked_signer_proposes_nothing() public {
        (ClaimRecord memory record, Payout[] memory payouts) = _sound();
        vm.prank(node);
        staking.revokeSigner(signer);
        _refuses(I.NotSigner.selector, abi.encode(node, signer));
        _send(record, payouts);
    }

    /// @dev The node's share, less the fee of the last draw, in fees of half of all pots.
    function test_as_many_draws_as_the_nodes_share_covers() public {
        (ClaimRecord memory record, Payout[] memory payouts) = _sound();
        _send(record, payouts);
        eq("node", record.nodeShare, 65 * OPEN);
        eq("of 9.4 OPEN each", rewards.proposalOf(node, 0).redrawsMax, 5);
        record = _claim(_ids(TWO), _items(_lane(_open(7), TWO, 0, 0, 1)));
        _send(record, _payouts(record, alice));
        eq("for nothing", rewards.proposalOf(node, 1).redrawsMax, 254);
    }

    /// @dev F: a list binds the whole record. After a reorganisation the same number may be another claim's.
    function test_an_unknown_claim_is_refused() public {
        (ClaimRecord memory record, Payout[] memory payouts) = _sound();
        record.nodeShare += 1;
        _refuses(I.UnknownClaim.selector, abi.encode(node, 0));
        _send(record, payouts);
        record.nodeShare -= 1;
        _send(record, payouts);
        _refuses(I.AlreadyProposed.selector, abi.encode(node, 0));
        _send(record, payouts);
    }

    /// @dev F: a list that can be replaced is a list that nobody can check.
    function test_a_proposal_is_made_once() public {
        (ClaimRecord memory record, Payout[] memory payouts) = _sound();
        _send(record, payouts);
        _refuses(I.AlreadyProposed.selector, abi.encode(node, 0));
        _send(record, payouts);
    }

    function test_after_the_time_to_propose_it_is_over() public {
        (ClaimRecord memory record, Payout[] memory payouts) = _sound();
        uint64 deadline = record.claimedAt + windows().propose;
        vm.warp(deadline + 1);
        _refuses(I.ProposeOver.selector, abi.encode(record.claimedAt));
        _send(record, payouts);
        vm.warp(deadline);
        _send(record, payouts);
    }

    function test_there_are_at_most_256_payouts() public {
        (ClaimRecord memory record,) = _sound();
        _refuses(I.TooMany.selector, abi.encode("payouts", 257, 256));
        _send(record, new Payout[](257));
        Payout[] memory payouts = new Payout[](256);
        uint256 each = PPM * record.pots[0].gross / 256;
        for (uint160 i = 0; i < 256; ++i) payouts[i] = _payout(0, address(i), each);
        payouts[255].weight += PPM * record.pots[0].gross - each * 256;
        _send(record, payouts);
    }

    function test_a_pot_that_the_claim_has_not_is_refused() public {
        (ClaimRecord memory record, Payout[] memory payouts) = _sound();
        payouts[1].pot = 2;
        _refuses(I.UnknownPot.selector, abi.encode(2, 2));
        _send(record, payouts);
    }

    function test_nobody_is_named_for_nothing() public {
        (ClaimRecord memory record, Payout[] memory payouts) = _sound();
        payouts[1].weight = 0;
        _refuses(I.ZeroWeight.selector, abi.encode(1));
        _send(record, payouts);
    }

    function test_payouts_ascend_strictly_by_pot_and_account() public {
        (ClaimRecord memory record, Payout[] memory payouts) = _sound();
        uint256 half = payouts[0].weight / 2;
        payouts[0].weight = half;
        payouts[1] = _payout(0, alice, half);
        _refuses(I.PayoutsNotAscending.selector, abi.encode(1));
        _send(record, payouts);
        payouts[0].account = bob;
        _refuses(I.PayoutsNotAscending.selector, abi.encode(1));
        _send(record, payouts);
        payouts = _payouts(record, alice);
        (payouts[0], payouts[1]) = (payouts[1], payouts[0]);
        _refuses(I.PayoutsNotAscending.selector, abi.encode(1));
        _send(record, payouts);
        payouts = _payouts(record, alice);
        payouts[1].account = address(1);
        _send(record, payouts);
    }

    /// @dev F: weights that sum to more take from others' pots, weights that sum to less leave a rest to be had.
    function test_a_pots_weights_sum_to_a_million_times_its_gross() public {
        (ClaimRecord memory record, Payout[] memory payouts) = _sound();
        uint256 whole = PPM * DEPOSIT;
        for (uint16 pot = 0; pot < 2; ++pot) {
            payouts[pot].weight = whole + 1;
            _refuses(I.BadWeights.selector, abi.encode(pot, whole + 1, whole));
            _send(record, payouts);
            payouts[pot].weight = whole - 1;
            _refuses(I.BadWeights.selector, abi.encode(pot, whole - 1, whole));
            _send(record, payouts);
            payouts[pot].weight = whole;
        }
        _send(record, payouts);
    }

    function test_a_sum_is_not_carried_into_the_next_pot() public {
        (ClaimRecord memory record, Payout[] memory payouts) = _sound();
        payouts[0].weight += 5;
        payouts[1].weight -= 5;
        vm.expectPartialRevert(I.BadWeights.selector);
        _send(record, payouts);
    }

    function test_a_sum_that_would_wrap_is_refused() public {
        (ClaimRecord memory record,) = _sound();
        Payout[] memory payouts = new Payout[](2);
        payouts[0] = _payout(0, alice, type(uint256).max);
        payouts[1] = _payout(0, bob, PPM * DEPOSIT + 1);
        vm.expectRevert(abi.encodeWithSignature("Panic(uint256)", 0x11));
        _send(record, payouts);
    }

    function test_a_claim_without_pots_proposes_an_empty_list() public {
        ClaimRecord memory record = _claimed(BASE);
        _send(record, new Payout[](0));
    }

    function test_anything_for_a_claim_without_pots_is_refused() public {
        ClaimRecord memory record = _claimed(BASE);
        Payout[] memory payouts = new Payout[](1);
        payouts[0] = _payout(0, alice, 1);
        _refuses(I.UnknownPot.selector, abi.encode(0, 0));
        _send(record, payouts);
    }
}
