// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IPaymentChannels as I} from "../../src/interfaces/IPaymentChannels.sol";
import {ChannelConfig} from "../../src/interfaces/Types.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

contract TopUpTest is World {
    function test_a_top_up_adds_to_the_deposit() public {
        ChannelConfig memory config = _open(1);
        bytes32 id = channels.channelId(config);
        _emits(address(channels));
        emit I.ToppedUp(id, 7);
        vm.prank(payer);
        channels.topUp(config, 7);
        eq("left", _left(config), DEPOSIT + 7);
        eq("held", token.balanceOf(address(channels)), DEPOSIT + 7);
        eq("paid in", channels.totals().paidIn, DEPOSIT + 7);
    }

    /// @dev F: else anybody spends the payer's allowance for him.
    function test_a_stranger_cannot_drain_an_allowance_by_topping_up() public {
        ChannelConfig memory config = _open(1);
        _refuses(I.NotPayer.selector, abi.encode(payer, stranger));
        vm.prank(stranger);
        channels.topUp(config, DEPOSIT);
    }

    function test_a_channel_that_was_never_opened_takes_nothing() public {
        ChannelConfig memory config = _config(1);
        bytes32 id = channels.channelId(config);
        _refuses(I.UnknownChannel.selector, abi.encode(id));
        vm.prank(payer);
        channels.topUp(config, DEPOSIT);
    }

    function test_nothing_is_no_top_up() public {
        ChannelConfig memory config = _open(1);
        _refuses(I.ZeroAmount.selector);
        vm.prank(payer);
        channels.topUp(config, 0);
    }

    function test_a_permit_stands_for_the_allowance_even_if_sent_first() public {
        ChannelConfig memory config = _open(1);
        (uint8 v, bytes32 r, bytes32 s) = _noAllowanceButPermit(address(channels), 5);
        vm.prank(stranger);
        token.permit(payer, address(channels), 5, _deadline(), v, r, s);
        vm.prank(payer);
        channels.topUpWithPermit(config, 5, _deadline(), v, r, s);
        eq("left", _left(config), DEPOSIT + 5);
    }

    function test_a_stranger_cannot_top_up_with_anothers_permit() public {
        ChannelConfig memory config = _open(1);
        (uint8 v, bytes32 r, bytes32 s) = _noAllowanceButPermit(address(channels), 5);
        _refuses(I.NotPayer.selector, abi.encode(payer, stranger));
        vm.prank(stranger);
        channels.topUpWithPermit(config, 5, _deadline(), v, r, s);
    }

    function test_a_fresh_permit_is_used() public {
        ChannelConfig memory config = _open(1);
        (uint8 v, bytes32 r, bytes32 s) = _noAllowanceButPermit(address(channels), 5);
        vm.prank(payer);
        channels.topUpWithPermit(config, 5, _deadline(), v, r, s);
        eq("left", _left(config), DEPOSIT + 5);
    }
}
