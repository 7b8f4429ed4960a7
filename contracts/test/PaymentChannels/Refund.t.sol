// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IPaymentChannels as I} from "../../src/interfaces/IPaymentChannels.sol";
import {ChannelConfig} from "../../src/interfaces/Types.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

contract RefundTest is World {
    function test_a_refund_by_the_signer_goes_to_the_payer_at_once() public {
        ChannelConfig memory config = _open(1);
        bytes32 id = channels.channelId(config);
        uint256 before = token.balanceOf(payer);
        _emits(address(channels));
        emit I.Refunded(id, 9, 0);
        vm.prank(signer);
        channels.refund(config, 9, 0, "");
        eq("paid", token.balanceOf(payer) - before, 9);
        eq("left", _left(config), DEPOSIT - 9);
        eq("next nonce", channels.refundNonceOf(id), 1);
        eq("refunded", channels.totals().refunded, 9);
    }

    function test_a_signed_refund_can_be_sent_by_anybody_and_goes_to_the_payer() public {
        ChannelConfig memory config = _open(1);
        bytes memory signature = _refundSignature(SIGNER_KEY, config, 9, 0);
        uint256 before = token.balanceOf(payer);
        vm.prank(stranger);
        channels.refund(config, 9, 0, signature);
        eq("paid", token.balanceOf(payer) - before, 9);
    }

    function test_a_refund_that_the_node_has_not_signed_is_refused() public {
        ChannelConfig memory config = _open(1);
        bytes memory signature = _refundSignature(PAYER_KEY, config, 9, 0);
        _refuses(I.NotSigner.selector, abi.encode(node, payer));
        vm.prank(payer);
        channels.refund(config, 9, 0, signature);
        _refuses(I.NotSigner.selector, abi.encode(node, address(0)));
        vm.prank(payer);
        channels.refund(config, 9, 0, "");
    }

    function test_another_amount_than_signed_is_refused() public {
        ChannelConfig memory config = _open(1);
        bytes memory signature = _refundSignature(SIGNER_KEY, config, 9, 0);
        vm.expectPartialRevert(I.NotSigner.selector);
        vm.prank(payer);
        channels.refund(config, 10, 0, signature);
    }

    function test_a_replayed_refund_pays_nothing() public {
        ChannelConfig memory config = _open(1);
        bytes memory signature = _refundSignature(SIGNER_KEY, config, 9, 0);
        channels.refund(config, 9, 0, signature);
        _refuses(I.BadRefundNonce.selector, abi.encode(0, 1));
        channels.refund(config, 9, 0, signature);
        _refuses(I.BadRefundNonce.selector, abi.encode(2, 1));
        vm.prank(signer);
        channels.refund(config, 9, 2, "");
    }

    function test_a_revoked_signer_refunds_nothing() public {
        ChannelConfig memory config = _open(1);
        bytes memory signature = _refundSignature(SIGNER_KEY, config, 9, 0);
        vm.prank(node);
        staking.revokeSigner(signer);
        _refuses(I.NotSigner.selector, abi.encode(node, signer));
        channels.refund(config, 9, 0, signature);
    }

    function test_nothing_is_no_refund() public {
        ChannelConfig memory config = _open(1);
        _refuses(I.ZeroAmount.selector);
        vm.prank(signer);
        channels.refund(config, 0, 0, "");
    }

    /// @dev Else a node gives back what contributors and owners have earned already, or another channel's deposit.
    function test_no_more_is_refunded_than_is_left() public {
        ChannelConfig memory config = _open(1);
        _open(2);
        _claim(_ids(BASE), _items(_item(config, 0, 10)));
        _refuses(I.RefundTooLarge.selector, abi.encode(DEPOSIT - 9, DEPOSIT - 10));
        vm.prank(signer);
        channels.refund(config, DEPOSIT - 9, 0, "");
        _refund(config, DEPOSIT - 10, 0);
        eq("left", _left(config), 0);
    }

    function test_a_refund_larger_than_a_pending_withdrawal_leaves_none() public {
        ChannelConfig memory config = _open(1);
        vm.prank(payer);
        channels.startWithdraw(config, 5);
        _refund(config, 6, 0);
        (uint128 amount,) = channels.withdrawalOf(channels.channelId(config));
        eq("amount", amount, 0);
    }
}
