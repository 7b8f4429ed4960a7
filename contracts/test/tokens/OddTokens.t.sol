// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttributionRewards} from "../../src/interfaces/IAttributionRewards.sol";
import {ChannelConfig, ClaimRecord, Item} from "../../src/interfaces/Types.sol";
import {IChannels, IToken} from "../support/Contracts.sol";
import {BlockingToken, CallingToken, IHook} from "../support/OddTokens.sol";
import {Receipts} from "../support/Receipts.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

/// @notice F: whoever is paid to an account that the token refuses could stop everybody else in the list.
contract BlockingTokenTest is Receipts {
    address private constant REFUSED = address(0xBAD);

    function _token() internal override returns (IToken) {
        return IToken(address(new BlockingToken(address(this), 1_000_000_000 * uint256(OPEN))));
    }

    function test_a_recipient_that_the_token_refuses_stops_no_others() public {
        _finalize(_booked(ONE));
        BlockingToken(address(token)).setBlocked(REFUSED);
        vm.prank(alice);
        rewards.setPayout(REFUSED, false);
        address[] memory accounts = new address[](2);
        (accounts[0], accounts[1]) = (alice, node);
        (uint128 kept, uint128 paid) = (rewards.balanceOf(alice), rewards.balanceOf(node));
        _emits(address(rewards));
        emit IAttributionRewards.WithdrawSkipped(alice, IAttributionRewards.SkipCode.Untransferable);
        rewards.withdraw(accounts);
        eq("kept", rewards.balanceOf(alice), kept);
        eq("paid out", rewards.totals().paidOut, paid);
    }
}

/// @notice F: with so large a supply, a pot times a weight exceeds 256 bits, and the claim could never be closed.
contract HugeSupplyTest is Receipts {
    function _token() internal override returns (IToken) {
        return IToken(address(new BlockingToken(address(this), type(uint128).max)));
    }

    function test_a_claim_of_nearly_the_whole_supply_becomes_final() public {
        uint128 amount = type(uint128).max / 16;
        token.transfer(payer, amount);
        ChannelConfig memory config = _config(1);
        vm.startPrank(payer);
        token.approve(address(channels), type(uint256).max);
        channels.open(config, amount);
        vm.stopPrank();
        Item[] memory items = _items(_lane(config, TWO, 0, 0, amount));
        ClaimRecord memory record = _claim(_ids(TWO), items);
        _finalize(_book(record, _ids(TWO), items, 3));
        uint256 pots = 0;
        for (uint256 i = 0; i < record.pots.length; ++i) pots += record.pots[i].amount;
        eq("alice", rewards.balanceOf(alice), pots);
        eq("gross", rewards.totals().credited, amount);
    }
}

/// @notice F: a token that calls its holders lets them call the contracts in the middle of a payment.
contract CallingTokenTest is World {
    function _token() internal override returns (IToken) {
        return IToken(address(new CallingToken(address(this), 1_000_000_000 * uint256(OPEN))));
    }

    function _caller() private returns (Caller caller) {
        caller = new Caller(channels, CallingToken(address(token)));
        token.transfer(address(caller), 2 * DEPOSIT);
        _open(9); // somebody else's money, there to be taken
    }

    function test_a_deposit_cannot_be_refunded_before_it_is_there() public {
        Caller caller = _caller();
        caller.callOn(Caller.Moment.Paying);
        vm.expectRevert();
        caller.open(DEPOSIT);
        eq("nothing is gone", token.balanceOf(address(channels)), DEPOSIT);
    }

    function test_a_withdrawal_is_finished_once_even_from_within() public {
        Caller caller = _caller();
        caller.open(DEPOSIT);
        caller.startWithdraw(DEPOSIT);
        vm.warp(block.timestamp + DELAY);
        caller.callOn(Caller.Moment.BeingPaid);
        caller.finishWithdraw();
        eq("the others' money", token.balanceOf(address(channels)), DEPOSIT);
        eq("its own", token.balanceOf(address(caller)), 2 * DEPOSIT);
    }

    /// @dev By a transfer before the nonce is used, a payer would take back what its vouchers cover.
    function test_a_signed_refund_is_paid_once_even_from_within() public {
        Repeater payer_ = _repeater();
        ChannelConfig memory config = _config(1);
        config.payer = address(payer_);
        payer_.send(address(channels), abi.encodeCall(channels.open, (config, DEPOSIT)));
        bytes memory signature = _refundSignature(SIGNER_KEY, config, 9, 0);
        payer_.sendTwice(address(channels), abi.encodeCall(channels.refund, (config, 9, 0, signature)));
        _isPaid(payer_, 9);
    }

    function test_a_bond_is_reclaimed_once_even_from_within() public {
        Repeater owner = _repeater();
        bytes32 id = _adapterId(address(owner), "manifest");
        token.transfer(address(owner), BOND);
        owner.send(address(models), _registration("manifest"));
        owner.send(address(models), abi.encodeCall(models.retire, (id)));
        vm.warp(block.timestamp + windows().unbonding);
        uint256 others = token.balanceOf(address(models)) - BOND;
        owner.sendTwice(address(models), abi.encodeCall(models.reclaimBond, (id)));
        eq("the others' bonds", token.balanceOf(address(models)), others);
        _isPaid(owner, DEPOSIT + BOND);
    }

    function _registration(bytes32 manifest) private view returns (bytes memory) {
        (bytes32[] memory ids, uint32[] memory weights) = (new bytes32[](0), new uint32[](0));
        return abi.encodeCall(models.register, (manifest, "base", "artifact", "", ids, weights, 0));
    }

    function _repeater() private returns (Repeater repeater) {
        address[3] memory spenders = [address(channels), address(staking), address(models)];
        repeater = new Repeater(CallingToken(address(token)), spenders);
        token.transfer(address(repeater), DEPOSIT);
    }

    function _isPaid(Repeater repeater, uint256 amount) private view {
        yes("it tried, in vain", repeater.wasRefused());
        eq("paid", token.balanceOf(address(repeater)), amount);
    }
}

/// @notice An account that makes a call again in the middle of the transfer by which it is paid.
contract Repeater is IHook {
    bool public wasRefused;
    address private _target;
    bytes private _call;

    constructor(CallingToken token, address[3] memory spenders) {
        for (uint256 i = 0; i < 3; ++i) token.approve(spenders[i], type(uint256).max);
        token.setHook(this);
    }

    function sendTwice(address target, bytes calldata call) external {
        (_target, _call) = (target, call);
        send(target, call);
    }

    function send(address target, bytes calldata call) public {
        (bool success,) = target.call(call);
        require(success, "the first call");
    }

    function onTransfer(address from, address, uint256) external {
        bytes memory call = _call;
        if (call.length == 0 || from == address(this)) return;
        delete _call;
        (bool success,) = _target.call(call);
        wasRefused = !success;
    }
}

/// @notice A payer, its own node, that calls back in the middle of a transfer, once.
contract Caller is IHook {
    enum Moment {
        Never,
        Paying,
        BeingPaid
    }

    IChannels private immutable _channels;
    Moment private _moment;

    constructor(IChannels channels, CallingToken token) {
        _channels = channels;
        token.approve(address(channels), type(uint256).max);
        token.setHook(this);
    }

    function callOn(Moment moment) external {
        _moment = moment;
    }

    function open(uint128 amount) external {
        _channels.open(_config(), amount);
    }

    function startWithdraw(uint128 amount) external {
        _channels.startWithdraw(_config(), amount);
    }

    function finishWithdraw() external {
        _channels.finishWithdraw(_config());
    }

    function onTransfer(address from, address, uint256 value) external {
        Moment moment = _moment;
        _moment = Moment.Never;
        if (moment == Moment.Paying && from == address(this)) _channels.refund(_config(), uint128(value), 0, "");
        if (moment == Moment.BeingPaid && from != address(this)) {
            try _channels.finishWithdraw(_config()) {} catch {}
        }
    }

    function _config() private view returns (ChannelConfig memory) {
        address self = address(this);
        return ChannelConfig({payer: self, authorizer: self, node: self, withdrawDelay: 2 days, salt: "caller"});
    }
}
