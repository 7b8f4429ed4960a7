// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {IPaymentChannels as I} from "../../src/interfaces/IPaymentChannels.sol";
import {ChannelConfig} from "../../src/interfaces/Types.sol";
import {Tokens} from "../../src/lib/Tokens.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

/// @notice Takes a hundredth of each transfer, as some tokens do.
contract FeeToken {
    mapping(address => uint256) public balanceOf;

    function transferFrom(address, address to, uint256 amount) external returns (bool) {
        balanceOf[to] += amount - amount / 100;
        return true;
    }
}

contract OpenTest is World {
    function test_opening_takes_the_deposit_from_the_payer() public {
        ChannelConfig memory config = _config(1);
        bytes32 id = channels.channelId(config);
        uint256 before = token.balanceOf(payer);
        _emits(address(channels));
        emit I.ChannelOpened(id, payer, node, config, DEPOSIT);
        vm.prank(payer);
        eq("id", channels.open(config, DEPOSIT), id);
        (uint128 deposit, uint128 claimed) = channels.channelOf(id);
        eq("deposit", deposit, DEPOSIT);
        eq("claimed", claimed, 0);
        eq("payer", before - token.balanceOf(payer), DEPOSIT);
        eq("held", token.balanceOf(address(channels)), DEPOSIT);
        eq("paid in", channels.totals().paidIn, DEPOSIT);
    }

    /// @dev F: the payer's allowance is there for whoever names him as payer, unless only he can.
    function test_a_stranger_cannot_drain_an_allowance_by_opening() public {
        ChannelConfig memory config = _config(1);
        (config.authorizer, config.node) = (stranger, stranger);
        _refuses(I.NotPayer.selector, abi.encode(payer, stranger));
        vm.prank(stranger);
        channels.open(config, DEPOSIT);
    }

    /// @dev F: and it is the caller's tokens that a channel takes, whoever else has given an allowance.
    function test_a_stranger_who_is_payer_pays_with_his_own() public {
        ChannelConfig memory config = _config(1);
        config.payer = stranger;
        _refuses(IERC20Errors.ERC20InsufficientAllowance.selector, abi.encode(channels, 0, DEPOSIT));
        vm.prank(stranger);
        channels.open(config, DEPOSIT);
    }

    function test_zero_authorizer_or_node_is_refused() public {
        ChannelConfig memory config = _config(1);
        config.authorizer = address(0);
        _refuses(I.ZeroAddress.selector);
        vm.prank(payer);
        channels.open(config, DEPOSIT);
        (config.authorizer, config.node) = (authorizer, address(0));
        _refuses(I.ZeroAddress.selector);
        vm.prank(payer);
        channels.open(config, DEPOSIT);
    }

    function test_the_withdraw_delay_has_bounds() public {
        uint64[2] memory bad = [windows().withdrawDelayMin - 1, windows().withdrawDelayMax + 1];
        uint64[2] memory good = [windows().withdrawDelayMin, windows().withdrawDelayMax];
        ChannelConfig memory config = _config(1);
        for (uint256 i = 0; i < 2; ++i) {
            config.withdrawDelay = bad[i];
            _refuses(
                I.BadWithdrawDelay.selector, abi.encode(bad[i], windows().withdrawDelayMin, windows().withdrawDelayMax)
            );
            vm.prank(payer);
            channels.open(config, DEPOSIT);
            config.withdrawDelay = good[i];
            vm.prank(payer);
            channels.open(config, DEPOSIT);
        }
    }

    function test_a_deposit_below_the_minimum_is_refused() public {
        _refuses(I.DepositTooSmall.selector, abi.encode(MIN_DEPOSIT - 1, MIN_DEPOSIT));
        vm.prank(payer);
        channels.open(_config(1), MIN_DEPOSIT - 1);
        vm.prank(payer);
        channels.open(_config(1), MIN_DEPOSIT);
    }

    function test_a_channel_opens_once() public {
        ChannelConfig memory config = _open(1);
        bytes32 id = channels.channelId(config);
        _refuses(I.ChannelExists.selector, abi.encode(id));
        vm.prank(payer);
        channels.open(config, DEPOSIT);
    }

    /// @dev An emptied channel can be opened anew: `claimed` is kept, so old vouchers stay spent.
    function test_a_reopened_channel_remembers_what_was_claimed() public {
        ChannelConfig memory config = _open(1);
        _claim(_ids(BASE), _items(_item(config, 0, DEPOSIT / 2)));
        _refund(config, DEPOSIT / 2, 0);
        (uint128 deposit, uint128 claimed) = channels.channelOf(channels.channelId(config));
        eq("deposit", deposit, DEPOSIT / 2);
        eq("claimed", claimed, DEPOSIT / 2);
        bytes32 id = channels.channelId(config);
        _refuses(I.ChannelExists.selector, abi.encode(id));
        vm.prank(payer);
        channels.open(config, DEPOSIT);
    }

    function test_a_token_that_takes_a_fee_is_refused() public {
        FeeToken fee = new FeeToken();
        vm.etch(address(token), address(fee).code);
        _refuses(Tokens.TokenTakesFee.selector, abi.encode(DEPOSIT, DEPOSIT - DEPOSIT / 100));
        vm.prank(payer);
        channels.open(_config(1), DEPOSIT);
    }

    function test_opening_with_a_permit_needs_no_allowance() public {
        (uint8 v, bytes32 r, bytes32 s) = _noAllowanceButPermit(address(channels), DEPOSIT);
        vm.prank(payer);
        channels.openWithPermit(_config(1), DEPOSIT, _deadline(), v, r, s);
        eq("left", _left(_config(1)), DEPOSIT);
    }

    function test_a_permit_that_somebody_sent_first_does_no_harm() public {
        (uint8 v, bytes32 r, bytes32 s) = _noAllowanceButPermit(address(channels), DEPOSIT);
        vm.prank(stranger);
        token.permit(payer, address(channels), DEPOSIT, _deadline(), v, r, s);
        vm.prank(payer);
        channels.openWithPermit(_config(1), DEPOSIT, _deadline(), v, r, s);
        eq("left", _left(_config(1)), DEPOSIT);
    }

    /// @dev F: a permit is its owner's. A stranger who sends it with a channel of his own gains nothing.
    function test_a_stranger_cannot_open_with_anothers_permit() public {
        (uint8 v, bytes32 r, bytes32 s) = _noAllowanceButPermit(address(channels), DEPOSIT);
        _refuses(I.NotPayer.selector, abi.encode(payer, stranger));
        vm.prank(stranger);
        channels.openWithPermit(_config(1), DEPOSIT, _deadline(), v, r, s);
    }

    function test_a_bad_permit_without_allowance_is_refused() public {
        (uint8 v, bytes32 r, bytes32 s) = _noAllowanceButPermit(address(channels), DEPOSIT - 1);
        _refuses(IERC20Errors.ERC20InsufficientAllowance.selector, abi.encode(channels, 0, DEPOSIT));
        vm.prank(payer);
        channels.openWithPermit(_config(1), DEPOSIT, _deadline(), v, r, s);
    }

    /// @dev A channel's id depends on each of its fields, and on the chain and the contract.
    function test_every_field_makes_another_channel() public {
        ChannelConfig memory config = _config(1);
        bytes32 id = channels.channelId(config);
        ChannelConfig[5] memory others = [_config(1), _config(1), _config(1), _config(1), _config(2)];
        (others[0].payer, others[1].authorizer, others[2].node) = (stranger, stranger, stranger);
        others[3].withdrawDelay += 1;
        for (uint256 i = 0; i < 5; ++i) yes("another", channels.channelId(others[i]) != id);
        vm.chainId(5);
        yes("another chain", channels.channelId(config) != id);
    }
}
