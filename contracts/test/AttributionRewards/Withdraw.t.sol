// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttributionRewards as I} from "../../src/interfaces/IAttributionRewards.sol";
import {ClaimFor} from "../../src/interfaces/Types.sol";
import {Receipts} from "../support/Receipts.sol";
import {vm} from "../support/Vm.sol";

/// @notice The payer of World is a contributor here, since his key is at hand.
abstract contract Earned is Receipts {
    uint128 internal constant EARNED = 18.8e18;

    function setUp() public virtual override {
        super.setUp();
        _finalize(_booked(ONE));
    }

    function _contributor() internal view override returns (address) {
        return payer;
    }
}

contract WithdrawTest is Earned {
    function test_a_balance_is_paid_where_its_account_says() public {
        _emits(address(rewards));
        emit I.Withdrawn(payer, bob, 7);
        vm.prank(payer);
        rewards.withdraw(bob, 7);
        eq("bob", token.balanceOf(bob), 7);
        eq("balance", rewards.balanceOf(payer), EARNED - 7);
        eq("paid out", rewards.totals().paidOut, 7);
        vm.prank(payer);
        rewards.withdraw(bob, EARNED - 7);
        eq("all", token.balanceOf(bob), EARNED);
    }

    function test_no_more_than_the_balance() public {
        _refuses(I.InsufficientBalance.selector, abi.encode(payer, EARNED, EARNED + 1));
        vm.prank(payer);
        rewards.withdraw(payer, EARNED + 1);
    }

    function test_a_stranger_has_nothing_to_withdraw() public {
        _refuses(I.InsufficientBalance.selector, abi.encode(stranger, 0, 1));
        vm.prank(stranger);
        rewards.withdraw(stranger, 1);
    }

    function test_nobody_is_paid_into_the_void() public {
        _refuses(I.ZeroAddress.selector);
        vm.prank(payer);
        rewards.withdraw(address(0), 1);
    }
}

contract WithdrawForTest is Earned {
    function test_a_signed_withdrawal_can_be_sent_by_anybody() public {
        ClaimFor memory claim = _claimFor(7, 0);
        _emits(address(rewards));
        emit I.Withdrawn(payer, bob, 7);
        _send(claim, _signature(PAYER_KEY, claim));
        eq("bob", token.balanceOf(bob), 7);
        eq("nonce", rewards.nonceOf(payer), 1);
        eq("balance", rewards.balanceOf(payer), EARNED - 7);
        eq("paid out", rewards.totals().paidOut, 7);
    }

    function test_a_bad_one_does_not_stop_the_others() public {
        ClaimFor[] memory claims = new ClaimFor[](3);
        bytes[] memory signatures = new bytes[](3);
        (claims[0], claims[1], claims[2]) = (_claimFor(1, 0), _claimFor(10, 0), _claimFor(100, 1));
        for (uint256 i = 0; i < 3; ++i) signatures[i] = _signature(PAYER_KEY, claims[i]);
        _emits(address(rewards));
        emit I.Withdrawn(payer, bob, 1);
        _emits(address(rewards));
        emit I.WithdrawSkipped(payer, 0, I.SkipCode.OtherNonce);
        _emits(address(rewards));
        emit I.Withdrawn(payer, bob, 100);
        rewards.withdrawFor(claims, signatures);
        eq("bob", token.balanceOf(bob), 101);
    }

    function test_past_its_deadline_it_is_skipped() public {
        ClaimFor memory claim = _claimFor(7, 0);
        bytes memory signature = _signature(PAYER_KEY, claim);
        vm.warp(claim.deadline + 1);
        _isSkipped(claim, signature, I.SkipCode(1));
        vm.warp(claim.deadline);
        _send(claim, signature);
    }

    function test_a_replayed_withdrawal_pays_nothing() public {
        ClaimFor memory claim = _claimFor(7, 0);
        bytes memory signature = _signature(PAYER_KEY, claim);
        _send(claim, signature);
        _isSkipped(claim, signature, I.SkipCode(2));
        claim = _claimFor(7, 2);
        _isSkipped(claim, _signature(PAYER_KEY, claim), I.SkipCode(2));
    }

    function test_more_than_the_balance_is_skipped() public {
        ClaimFor memory claim = _claimFor(EARNED + 1, 0);
        _isSkipped(claim, _signature(PAYER_KEY, claim), I.SkipCode(3));
    }

    function test_recipient_zero_is_skipped() public {
        ClaimFor memory claim = _claimFor(7, 0);
        claim.to = address(0);
        _isSkipped(claim, _signature(PAYER_KEY, claim), I.SkipCode(4));
    }

    /// @dev F: a relay that could change the recipient, or sign for others, would take everybody's balance.
    function test_what_the_account_has_not_signed_is_skipped() public {
        ClaimFor memory claim = _claimFor(7, 0);
        _isSkipped(claim, _signature(STRANGER_KEY, claim), I.SkipCode(5));
        bytes memory signature = _signature(PAYER_KEY, claim);
        claim.to = stranger;
        _isSkipped(claim, signature, I.SkipCode(5));
        _isSkipped(claim, "", I.SkipCode(5));
    }

    function test_a_signature_in_another_form_is_skipped() public {
        ClaimFor memory claim = _claimFor(7, 0);
        bytes[4] memory forms = _forms(_signature(PAYER_KEY, claim));
        for (uint256 i = 0; i < forms.length; ++i) _isSkipped(claim, forms[i], I.SkipCode(5));
    }

    function test_account_zero_signs_nothing() public {
        ClaimFor memory claim = _claimFor(0, 0);
        claim.account = address(0);
        _isSkipped(claim, new bytes(65), I.SkipCode(5));
    }

    /// @dev F: a relay that starves the payout of gas, so that its transfer fails and uses up the nonce, would get the
    /// fee alone. Too little is left of such a call to end it.
    function test_a_relay_cannot_starve_the_payout_of_gas() public {
        ClaimFor[] memory claims = new ClaimFor[](1);
        bytes[] memory signatures = new bytes[](1);
        claims[0] = _claimFor(7, 0);
        signatures[0] = _signature(PAYER_KEY, claims[0]);
        // The dearest transfer: to an account that has nothing and has delegated its votes.
        vm.prank(bob);
        token.delegate(stranger);
        uint256 numPaid = 0;
        for (uint256 gasLimit = 30_000; gasLimit < 130_000; gasLimit += 251) {
            uint256 state = vm.snapshotState();
            vm.prank(stranger);
            try rewards.withdrawFor{gas: gasLimit}(claims, signatures) {
                eq("a nonce that is used is paid", token.balanceOf(bob), rewards.nonceOf(payer) * 7);
                numPaid += rewards.nonceOf(payer);
            } catch {}
            vm.revertToState(state);
        }
        yes("some are paid", numPaid > 0);
    }

    function test_the_fee_of_a_relay_is_paid_after_the_payout_only() public {
        (ClaimFor memory payout, ClaimFor memory fee) = (_claimFor(7, 0), _claimFor(2, 1));
        fee.to = stranger;
        bytes memory signature = _signature(PAYER_KEY, fee);
        _isSkipped(fee, signature, I.SkipCode(2));
        _send(payout, _signature(PAYER_KEY, payout));
        _send(fee, signature);
        eq("bob", token.balanceOf(bob), 7);
        eq("relay", token.balanceOf(stranger), 2);
    }

    function test_each_withdrawal_has_a_signature() public {
        _refuses(I.LengthMismatch.selector, abi.encode(2, 1));
        rewards.withdrawFor(new ClaimFor[](2), new bytes[](1));
    }

    function test_there_are_at_most_256() public {
        _refuses(I.TooMany.selector, abi.encode("claims", 257, 256));
        rewards.withdrawFor(new ClaimFor[](257), new bytes[](257));
        rewards.withdrawFor(new ClaimFor[](256), new bytes[](256));
    }

    function _claimFor(uint128 amount, uint256 nonce) private view returns (ClaimFor memory) {
        return ClaimFor({account: payer, to: bob, amount: amount, nonce: nonce, deadline: uint64(_deadline())});
    }

    function _signature(uint256 key, ClaimFor memory claim) private view returns (bytes memory) {
        bytes32 kind = keccak256("ClaimFor(address account,address to,uint128 amount,uint256 nonce,uint64 deadline)");
        return _sign(key, _rewards(keccak256(abi.encode(kind, claim))));
    }

    function _send(ClaimFor memory claim, bytes memory signature) private {
        ClaimFor[] memory claims = new ClaimFor[](1);
        bytes[] memory signatures = new bytes[](1);
        (claims[0], signatures[0]) = (claim, signature);
        vm.prank(stranger);
        rewards.withdrawFor(claims, signatures);
    }

    function _isSkipped(ClaimFor memory claim, bytes memory signature, I.SkipCode code) private {
        uint256 before = token.balanceOf(address(rewards));
        uint256 nonce = rewards.nonceOf(claim.account);
        _emits(address(rewards));
        emit I.WithdrawSkipped(claim.account, claim.nonce, code);
        _send(claim, signature);
        eq("nothing is paid", token.balanceOf(address(rewards)), before);
        eq("nonce", rewards.nonceOf(claim.account), nonce);
    }
}
