// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttributionRewards as I} from "../../src/interfaces/IAttributionRewards.sol";
import {Item} from "../../src/interfaces/Types.sol";
import {Receipts} from "../support/Receipts.sol";
import {vm} from "../support/Vm.sol";

/// @notice The payer of World is a contributor here, and the node has its share.
abstract contract Earned is Receipts {
    uint128 internal constant EARNED = 18.8e18;

    function setUp() public virtual override {
        super.setUp();
        _finalize(_booked(ONE));
    }

    function _contributor() internal view override returns (address) {
        return payer;
    }

    function _payTo(address payout, bool onlySelf) internal {
        vm.prank(payer);
        rewards.setPayout(payout, onlySelf);
    }

    function _withdrawAs(address caller, address account) internal {
        address[] memory accounts = new address[](1);
        accounts[0] = account;
        vm.prank(caller);
        rewards.withdraw(accounts);
    }

    /// @dev An account that cannot be paid does not stop the next.
    function _isSkipped(address caller, address account, I.SkipCode code) internal {
        uint128 before = rewards.balanceOf(account);
        address[] memory accounts = new address[](2);
        (accounts[0], accounts[1]) = (account, node);
        _emits(address(rewards));
        emit I.WithdrawSkipped(account, code);
        vm.prank(caller);
        rewards.withdraw(accounts);
        eq("balance", rewards.balanceOf(account), before);
        eq("the next", rewards.balanceOf(node), 0);
    }
}

contract WithdrawTest is Earned {
    function test_a_contributor_without_coins_is_paid_by_anybody() public {
        uint256 before = token.balanceOf(payer);
        _emits(address(rewards));
        emit I.Withdrawn(payer, payer, EARNED);
        _withdrawAs(stranger, payer);
        eq("payer", token.balanceOf(payer), before + EARNED);
        eq("balance", rewards.balanceOf(payer), 0);
        eq("paid out", rewards.totals().paidOut, EARNED);
    }

    function test_each_account_is_paid_where_it_says() public {
        _emits(address(rewards));
        emit I.PayoutSet(payer, bob, false);
        _payTo(bob, false);
        (address payout, bool onlySelf) = rewards.payoutOf(payer);
        eq("payout", payout, bob);
        yes("not only itself", !onlySelf);
        _withdrawAs(stranger, payer);
        eq("bob", token.balanceOf(bob), EARNED);
    }

    function test_by_default_an_account_is_paid_itself() public {
        _payTo(bob, false);
        _payTo(address(0), false);
        (address payout,) = rewards.payoutOf(payer);
        eq("payer", payout, payer);
    }

    function test_an_account_can_keep_others_from_paying_it() public {
        _payTo(bob, true);
        _isSkipped(stranger, payer, I.SkipCode(2));
        _withdrawAs(payer, payer);
        eq("bob", token.balanceOf(bob), EARNED);
    }

    function test_an_empty_account_is_skipped() public {
        _isSkipped(stranger, stranger, I.SkipCode(1));
    }

    function test_an_account_is_paid_once_in_a_list() public {
        address[] memory accounts = new address[](2);
        (accounts[0], accounts[1]) = (payer, payer);
        rewards.withdraw(accounts);
        eq("paid out", rewards.totals().paidOut, EARNED);
    }

    function test_a_call_that_pays_nobody_is_refused() public {
        _refuses(I.NobodyPaid.selector);
        rewards.withdraw(new address[](0));
        _refuses(I.NobodyPaid.selector);
        _withdrawAs(stranger, stranger);
    }

    /// @dev F: whoever starves the transfer of gas must not make a balance vanish.
    function test_a_caller_cannot_starve_a_payment_of_gas() public {
        _payTo(bob, false);
        // The dearest transfer: to an account that has nothing and has delegated its votes.
        vm.prank(bob);
        token.delegate(stranger);
        address[] memory accounts = new address[](1);
        accounts[0] = payer;
        uint256 numPaid = 0;
        for (uint256 gasLimit = 30_000; gasLimit < 130_000; gasLimit += 251) {
            uint256 state = vm.snapshotState();
            vm.prank(stranger);
            try rewards.withdraw{gas: gasLimit}(accounts) {
                eq("what has left is paid", token.balanceOf(bob), EARNED);
                ++numPaid;
            } catch {}
            eq("nothing is lost", token.balanceOf(bob) + rewards.balanceOf(payer), EARNED);
            vm.revertToState(state);
        }
        yes("some are paid", numPaid > 0);
    }
}

contract DustTest is Earned {
    uint128 private constant DUST = 0.001e18;
    uint128 private constant GROSS = DUST * 1_000 / 188;

    function test_only_the_account_itself_withdraws_dust() public {
        _earn(GROSS);
        eq("dust", rewards.balanceOf(payer), DUST - 1);
        _isSkipped(stranger, payer, I.SkipCode(3));
        _withdrawAs(payer, payer);
        eq("nothing is left", rewards.balanceOf(payer), 0);
    }

    function test_what_is_no_dust_can_be_pushed() public {
        _earn(GROSS + 6);
        eq("no dust", rewards.balanceOf(payer), DUST);
        _withdrawAs(stranger, payer);
        eq("nothing is left", rewards.balanceOf(payer), 0);
    }

    /// @dev A claim of `gross` after all that was earned before has been withdrawn.
    function _earn(uint128 gross) private {
        _withdrawAs(payer, payer);
        Item[] memory items = _items(_lane(_open(7), ONE, 0, 0, gross));
        _finalize(_book(_claim(_ids(ONE), items), _ids(ONE), items, 1));
    }
}
