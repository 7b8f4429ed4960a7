// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {UnbondRequest} from "../../src/interfaces/INodeStaking.sol";
import {ChannelConfig, ClaimRecord, Opening} from "../../src/interfaces/Types.sol";
import {vm} from "../support/Vm.sol";
import {Lists} from "./Lists.sol";

/// @notice Everything that can be done, by anybody it can be done by, with whatever numbers; what would be refused is
/// not tried, since each refusal has its own test, so that no call may revert.
contract Handler is Lists {
    // ---- who was credited ----

    function withdraw(uint256 who) external {
        address account = _accountOf(who);
        if (rewards.balanceOf(account) > 0) _withdraw(account);
    }

    /// @dev Only by itself, and to an account that no token refuses.
    function _withdraw(address account) private counted("withdraw") {
        vm.prank(account);
        rewards.setPayout(stranger, true);
        _pay(account, account);
    }

    function push(uint256 who) external {
        address account = _accountOf(who);
        if (rewards.balanceOf(account) >= OPEN / 1_000) _push(account);
    }

    function _push(address account) private counted("push") {
        vm.prank(account);
        rewards.setPayout(stranger, false);
        _pay(stranger, account);
    }

    /// @dev Twice the same, so that one is skipped.
    function _pay(address by, address account) private {
        address[] memory twice = new address[](2);
        (twice[0], twice[1]) = (account, account);
        paidOut += rewards.balanceOf(account);
        vm.prank(by);
        rewards.withdraw(twice);
    }

    // ---- stakes ----

    function bond(uint256 who, uint256 amount) external counted("bond") {
        amount = within(amount, 1, 3 * MIN_STAKE);
        if (amount > token.balanceOf(_nodeOf(who))) return;
        vm.prank(_nodeOf(who));
        staking.bond(uint128(amount));
        bondedIn += amount;
    }

    function unbond(uint256 who, uint256 amount) external {
        uint128 bonded = staking.bondedOf(_nodeOf(who));
        if (bonded > 0 && staking.unbondRequests(_nodeOf(who)).length < 16) _unbond(_nodeOf(who), bonded, amount);
    }

    /// @dev All of it, now and then.
    function _unbond(address who, uint128 bonded, uint256 amount) private counted("unbond") {
        vm.prank(who);
        staking.unbond(amount % 5 == 0 ? bonded : uint128(within(amount, 1, bonded)));
    }

    function withdrawStake(uint256 who) external {
        UnbondRequest[] memory requests = staking.unbondRequests(_nodeOf(who));
        if (requests.length > 0) _withdrawStake(_nodeOf(who), requests);
    }

    function _withdrawStake(address who, UnbondRequest[] memory requests) private counted("withdrawStake") {
        if (block.timestamp < requests[0].readyAt) vm.warp(requests[0].readyAt);
        for (uint256 i = 0; i < requests.length; ++i) {
            if (requests[i].readyAt <= block.timestamp) stakeOut += requests[i].amount;
        }
        vm.prank(who);
        staking.withdraw();
    }

    function slash(uint256 who, uint256 amount) external {
        (uint128 bonded, uint128 unbonding) = staking.nodeOf(_nodeOf(who));
        uint64 last = staking.slashedAt(_nodeOf(who));
        bool isLate = last != 0 && block.timestamp < last + windows().slashGap;
        if (!isLate && bonded + unbonding > 0) _slash(_nodeOf(who), within(amount, 1, MIN_STAKE), bonded + unbonding);
    }

    function _slash(address who, uint256 amount, uint256 stake) private counted("slash") {
        vm.prank(governor);
        staking.slash(who, uint128(amount), "evidence");
        slashed += amount < stake ? amount : stake;
    }

    // ---- what must not work: if it did, the books would no longer agree ----

    function steal(uint256 which, uint256 how) external counted("steal") {
        if (configs.length == 0) return;
        ChannelConfig memory config = configs[which % configs.length];
        how %= 6;
        if (how == 0) _refundTooMuch(config);
        if (how == 1) _finishAgain(config);
        if (how == 2) _releaseByHand(which);
        if (how == 3) _withdrawAgain(which);
        if (how == 4) _finalizeAgain(which);
        if (how == 5) _leaveAgain(which);
    }

    function _refundTooMuch(ChannelConfig memory config) private {
        uint256 nonce = channels.refundNonceOf(channels.channelId(config));
        uint128 more = _left(config) + 1;
        vm.prank(config.node);
        try channels.refund(config, more, nonce, "") {} catch {}
    }

    /// @dev When one has been announced, the first of the two is by the book.
    function _finishAgain(ChannelConfig memory config) private {
        this.finishWithdraw(_indexOf(config));
        (, uint64 readyAt) = channels.withdrawalOf(channels.channelId(config));
        if (block.timestamp >= readyAt && readyAt != 0) return;
        vm.prank(config.payer);
        try channels.finishWithdraw(config) {} catch {}
    }

    function _indexOf(ChannelConfig memory config) private pure returns (uint256) {
        return uint256(config.salt);
    }

    function _releaseByHand(uint256 which) private {
        if (claims.length == 0) return;
        ClaimRecord memory record = _recordOf(claims[which % claims.length]);
        vm.prank(record.node);
        try channels.release(record) {} catch {}
    }

    function _withdrawAgain(uint256 who) private {
        address[] memory accounts = new address[](1);
        accounts[0] = _accountOf(who);
        if (rewards.balanceOf(accounts[0]) == 0) try rewards.withdraw(accounts) {} catch {}
    }

    function _finalizeAgain(uint256 which) private {
        if (claims.length == 0) return;
        Claim storage it = claims[which % claims.length];
        if (_isLive(it)) return;
        Book memory book = _bookOf(it);
        try rewards.finalize(book.record, book.payouts, new Opening[](0)) {} catch {}
        try rewards.finalizeLate(book.record) {} catch {}
    }

    /// @dev Stake that is not ripe.
    function _leaveAgain(uint256 who) private {
        UnbondRequest[] memory requests = staking.unbondRequests(_nodeOf(who));
        for (uint256 i = 0; i < requests.length; ++i) if (requests[i].readyAt <= block.timestamp) return;
        vm.prank(_nodeOf(who));
        try staking.withdraw() {} catch {}
    }

    // ---- adapters, time, gifts ----

    function register(uint256 seed) external {
        if (adapterIds.length < 8) _register(seed);
    }

    function _register(uint256 seed) private counted("register") {
        bytes32 manifest = bytes32(uint256(100) + adapterIds.length);
        uint32 weight = uint32(within(seed, 1, 999_999));
        uint32 royalty = uint32(within(seed >> 32, 0, bounds().royaltyPpmMax));
        vm.prank(maker);
        uint32[] memory weights = _weights(weight, 1_000_000 - weight);
        _insert(models.register(manifest, "base", "artifact", "index", _ids(first, second), weights, royalty));
        bondsIn += BOND;
    }

    function _insert(bytes32 id) private {
        adapterIds.push(id);
        for (uint256 at = adapterIds.length - 1; adapterIds[at] < adapterIds[at - 1]; --at) {
            (adapterIds[at], adapterIds[at - 1]) = (adapterIds[at - 1], adapterIds[at]);
        }
    }

    function _numOffered() private view returns (uint256 count) {
        for (uint256 a = 1; a < adapterIds.length; ++a) {
            if (models.adapterOf(adapterIds[a]).retiredAt == 0) ++count;
        }
    }

    function retire(uint256 which) external {
        bytes32 id = adapterIds[within(which, 1, adapterIds.length - 1)];
        if (models.adapterOf(id).retiredAt != 0 || _numOffered() == 2) return;
        _retire(id);
    }

    function _retire(bytes32 id) private counted("retire") {
        vm.prank(maker);
        models.retire(id);
    }

    function reclaimBond(uint256 which) external {
        _reclaimBondLate(adapterIds[within(which, 1, adapterIds.length - 1)]);
    }

    function _reclaimBondLate(bytes32 id) private {
        uint64 retiredAt = models.adapterOf(id).retiredAt;
        if (retiredAt == 0 || models.adapterOf(id).bond == 0) return;
        if (block.timestamp < retiredAt + windows().unbonding) vm.warp(retiredAt + windows().unbonding);
        _reclaimBond(id);
    }

    function _reclaimBond(bytes32 id) private counted("reclaimBond") {
        vm.prank(maker);
        models.reclaimBond(id);
        bondsOut += BOND;
    }

    function wait(uint256 time) external counted("wait") {
        vm.warp(block.timestamp + within(time, 1, 12 hours));
        vm.roll(vm.getBlockNumber() + within(time >> 128, 1, 100));
    }

    /// @dev Tokens that somebody just sends are nobody's, and disturb no sum.
    function donate(uint256 to, uint256 amount) external counted("donate") {
        address[4] memory all = [address(channels), address(rewards), address(staking), address(models)];
        amount = within(amount, 0, OPEN);
        token.transfer(all[to % 4], amount);
        donated[all[to % 4]] += amount;
    }

    // ---- everything can leave ----

    /// @notice Close every claim, empty every channel, every stake, every balance and every bond, each by whoever can.
    /// What is left in the contracts is what was given to them.
    function leave() external {
        for (uint256 i = 0; i < claims.length; ++i) if (_isLive(claims[i])) _finalizeLateOf(claims[i]);
        for (uint256 i = 0; i < configs.length; ++i) _emptyChannel(configs[i]);
        for (uint256 n = 0; n < NODES; ++n) _emptyStake(_nodeOf(n));
        for (uint256 a = 0; a < ACCOUNTS; ++a) _emptyBalance(_accountOf(a));
        for (uint256 i = 1; i < adapterIds.length; ++i) _emptyBond(i);
        eq("channels", token.balanceOf(address(channels)), donated[address(channels)]);
        eq("rewards", token.balanceOf(address(rewards)), donated[address(rewards)]);
        eq("bonds", token.balanceOf(address(models)), donated[address(models)]);
        eq("stakes", token.balanceOf(address(staking)), donated[address(staking)]);
    }

    function _emptyChannel(ChannelConfig memory config) private {
        (uint128 pending,) = channels.withdrawalOf(channels.channelId(config));
        if (pending > 0) vm.warp(block.timestamp + config.withdrawDelay + windows().withdrawPeriod + 1);
        if (_left(config) == 0) return;
        _start(config, type(uint128).max);
        vm.warp(block.timestamp + config.withdrawDelay);
        _finish(config);
    }

    function _emptyStake(address who) private {
        vm.warp(block.timestamp + windows().unbonding);
        UnbondRequest[] memory requests = staking.unbondRequests(who);
        if (requests.length > 0) _withdrawStake(who, requests);
        uint128 bonded = staking.bondedOf(who);
        if (bonded > 0) {
            _unbond(who, bonded, 0);
            _withdrawStake(who, staking.unbondRequests(who));
        }
    }

    function _emptyBalance(address account) private {
        if (rewards.balanceOf(account) > 0) _withdraw(account);
    }

    function _emptyBond(uint256 which) private {
        bytes32 id = adapterIds[which];
        if (models.adapterOf(id).retiredAt == 0) _retire(id);
        _reclaimBondLate(id);
    }
}
