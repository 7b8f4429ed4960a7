// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttributionRewards} from "../../src/interfaces/IAttributionRewards.sol";
import {UnbondRequest} from "../../src/interfaces/INodeStaking.sol";
import {ChannelConfig, ClaimFor, ClaimRecord, EpochClaim, Item, Part, Payout, PPM} from "../../src/interfaces/Types.sol";
import {vm} from "../support/Vm.sol";
import {Books} from "./Books.sol";

/// @notice Everything that can be done, by anybody it can be done by, with whatever numbers; what would be refused is not
/// tried, since each refusal has its own test, so that no call may revert.
contract Handler is Books {
    modifier counted(string memory action) {
        _;
        ++numCalls[action];
    }

    // ---- payers ----

    function open(uint256 who, uint256 amount, uint64 delay) external {
        if (configs.length == 12) return;
        ChannelConfig memory config = _config(configs.length);
        (config.payer, config.node) = (_payerOf(who), _nodeOf(who / PAYERS));
        config.withdrawDelay = uint64(within(delay, windows().withdrawDelayMin, 4 days));
        configs.push(config);
        _pay(config, within(amount, MIN_DEPOSIT, 2 * DEPOSIT), true);
    }

    function topUp(uint256 which, uint256 amount) external {
        if (configs.length == 0) return;
        ChannelConfig memory config = configs[which % configs.length];
        (uint128 deposit,) = channels.channelOf(channels.channelId(config));
        bool isClosed = deposit == 0;
        _pay(config, within(amount, isClosed ? MIN_DEPOSIT : 1, DEPOSIT), isClosed);
    }

    function _pay(ChannelConfig memory config, uint256 amount, bool isNew) private counted(isNew ? "open" : "topUp") {
        if (amount > token.balanceOf(config.payer)) return;
        vm.prank(config.payer);
        if (isNew) channels.open(config, uint128(amount));
        else channels.topUp(config, uint128(amount));
        paidIn += amount;
        spent[config.payer] += amount;
    }

    function startWithdraw(uint256 which, uint256 amount) external {
        if (configs.length == 0) return;
        ChannelConfig memory config = configs[which % configs.length];
        (uint128 pending, uint64 readyAt) = channels.withdrawalOf(channels.channelId(config));
        if (_left(config) == 0 || (pending > 0 && block.timestamp <= readyAt + windows().withdrawPeriod)) return;
        _start(config, uint128(within(amount, 1, 3 * DEPOSIT)));
    }

    function _start(ChannelConfig memory config, uint128 amount) private counted("startWithdraw") {
        vm.prank(config.payer);
        channels.startWithdraw(config, amount);
    }

    function finishWithdraw(uint256 which) external {
        if (configs.length == 0) return;
        ChannelConfig memory config = configs[which % configs.length];
        (uint128 amount, uint64 readyAt) = channels.withdrawalOf(channels.channelId(config));
        if (amount == 0 || _left(config) == 0 || block.timestamp > readyAt + windows().withdrawPeriod) return;
        if (block.timestamp < readyAt) vm.warp(readyAt);
        _finish(config);
    }

    function _finish(ChannelConfig memory config) private counted("finishWithdraw") {
        (uint128 amount,) = channels.withdrawalOf(channels.channelId(config));
        if (amount > _left(config)) amount = _left(config);
        vm.prank(config.payer);
        channels.finishWithdraw(config);
        withdrawn += amount;
        returned[config.payer] += amount;
    }

    function refund(uint256 which, uint256 amount) external {
        if (configs.length == 0) return;
        ChannelConfig memory config = configs[which % configs.length];
        if (_left(config) > 0) _refundOf(config, uint128(within(amount, 1, _left(config))));
    }

    function _refundOf(ChannelConfig memory config, uint128 amount) private counted("refund") {
        uint256 nonce = channels.refundNonceOf(channels.channelId(config));
        vm.prank(config.node);
        channels.refund(config, amount, nonce, "");
        refunded += amount;
        returned[config.payer] += amount;
    }

    // ---- nodes ----

    function claim(uint256 who, uint256 seed) external {
        address by = _nodeOf(who);
        if (configs.length == 0 || claims.length == 24 || staking.bondedOf(by) < MIN_STAKE) return;
        Item[] memory items = new Item[](within(seed, 1, 4));
        for (uint256 i = 0; i < items.length; ++i) items[i] = _itemOf(uint256(keccak256(abi.encode(seed, i))));
        _claimBy(by, items);
    }

    /// @dev Any channel, anybody's; half of them by the book, the others wrong in one way or another.
    function _itemOf(uint256 seed) private view returns (Item memory item) {
        ChannelConfig memory config = configs[seed % configs.length];
        (uint128 deposit, uint128 from) = channels.channelOf(channels.channelId(config));
        uint128 amount = uint128(within(seed >> 8, 1, deposit - from + 1));
        item = _item(config, from, from + amount, 0);
        item.parts = _partsOf(amount, seed >> 16);
        uint256 fault = (seed >> 128) % 10;
        if (fault == 0) item.from += 1;
        if (fault == 1) item.maxClaimable = item.to - 1;
        if (fault == 2) item.signature = _voucher(config, item.to + 1);
        if (fault == 3) item.parts[0].amount += 1;
        if (fault == 4) item.parts[1].adapter = 0;
    }

    function _partsOf(uint128 amount, uint256 seed) private view returns (Part[] memory parts) {
        parts = new Part[](2);
        parts[0] = Part({adapter: uint16(seed % 2), amount: uint128(within(seed, 0, amount))});
        uint256 other = within(seed >> 3, 2, _claimable().length - 1);
        parts[1] = Part({adapter: uint16(other), amount: amount - parts[0].amount});
    }

    function _claimBy(address by, Item[] memory items) private counted("claim") {
        bytes32[] memory adapters = _claimable();
        EpochClaim memory epochClaim = _epochClaim(adapters, items);
        (epochClaim.node, epochClaim.seq) = (by, channels.nextSeq(by));
        vm.recordLogs();
        vm.prank(by);
        channels.claim(epochClaim, adapters, items, "");
        ClaimRecord memory record = _lastRecord();
        ++numClaims[by];
        claims.push().record = abi.encode(record);
        for (uint256 i = 0; i < items.length; ++i) {
            bool isSkipped = record.skipped >> i & 1 == 1;
            if (isSkipped) ++numCalls["skip"];
            else claimedOf[channels.channelId(items[i].config)] = items[i].to;
        }
    }

    function propose(uint256 which, uint256 seed) external {
        if (claims.length == 0) return;
        Claim storage it = claims[which % claims.length];
        bool isOver = block.timestamp > _recordOf(it).claimedAt + windows().propose;
        if (it.state == IAttributionRewards.State.None && !isOver) _proposeFor(it, seed);
    }

    /// @dev A pot in four is left out; the others go to one to three accounts, account 0 among them.
    function _proposeFor(Claim storage it, uint256 seed) private counted("propose") {
        ClaimRecord memory record = _recordOf(it);
        for (uint16 pot = 0; pot < record.pots.length; ++pot) {
            uint256 random = uint256(keccak256(abi.encode(seed, pot)));
            uint256 whole = PPM * record.pots[pot].gross;
            if (random % 4 == 0) continue;
            uint256 part = within(random >> 8, 1, whole - 1);
            if (random % 4 == 1) it.payouts.push(_payout(pot, address(0), part));
            else part = 0;
            uint256 other = within(random >> 16, 1, whole - part - 1);
            it.payouts.push(_payout(pot, alice, other));
            it.payouts.push(_payout(pot, bob, whole - part - other));
        }
        bytes32 root = it.payouts.length == 0 ? bytes32(0) : bytes32("root");
        vm.prank(record.node);
        rewards.propose(record, root, uint32(it.payouts.length), it.payouts, "");
        it.state = IAttributionRewards.State.Proposed;
        it.readyAt = block.timestamp + windows().window;
    }

    function finalize(uint256 which) external {
        if (claims.length == 0) return;
        Claim storage it = claims[which % claims.length];
        if (it.state == IAttributionRewards.State.Proposed) _finalizeOf(it);
    }

    function _finalizeOf(Claim storage it) private counted("finalize") {
        if (block.timestamp < it.readyAt) vm.warp(it.readyAt);
        rewards.finalize(_recordOf(it), it.payouts);
        it.state = IAttributionRewards.State.Finalized;
    }

    function finalizeLate(uint256 which) external {
        if (claims.length == 0) return;
        Claim storage it = claims[which % claims.length];
        if (it.state == IAttributionRewards.State.None) _finalizeLateOf(it);
    }

    function _finalizeLateOf(Claim storage it) private counted("finalizeLate") {
        uint256 deadline = _recordOf(it).claimedAt + windows().propose;
        if (block.timestamp <= deadline) vm.warp(deadline + 1);
        rewards.finalizeLate(_recordOf(it));
        it.state = IAttributionRewards.State.FinalizedLate;
    }

    // ---- who was credited ----

    function withdraw(uint256 who, uint256 amount) external {
        address account = _accountOf(who);
        uint128 balance = rewards.balanceOf(account);
        if (balance > 0) _withdrawTo(account, uint128(within(amount, 1, balance)));
    }

    function _withdrawTo(address account, uint128 amount) private counted("withdraw") {
        vm.prank(account);
        rewards.withdraw(stranger, amount);
        paidOut += amount;
    }

    /// @dev The node, whose key is known; twice the same, so that one is skipped.
    function withdrawFor(uint256 amount) external {
        uint128 balance = rewards.balanceOf(node);
        if (balance > 0) _withdrawFor(uint128(within(amount, 1, balance)));
    }

    function _withdrawFor(uint128 amount) private counted("withdrawFor") {
        ClaimFor[] memory twice = new ClaimFor[](2);
        bytes[] memory signatures = new bytes[](2);
        twice[0] = ClaimFor({
            account: node, to: stranger, amount: amount, nonce: rewards.nonceOf(node), deadline: uint64(_deadline())
        });
        bytes32 kind = keccak256("ClaimFor(address account,address to,uint128 amount,uint256 nonce,uint64 deadline)");
        signatures[0] = _sign(NODE_KEY, _rewards(keccak256(abi.encode(kind, twice[0]))));
        (twice[1], signatures[1]) = (twice[0], signatures[0]);
        rewards.withdrawFor(twice, signatures);
        paidOut += amount;
    }

    // ---- stakers ----

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

    function claimStakerRewards(uint256 who) external {
        (,,, uint128 accrued) = staking.nodeOf(_nodeOf(who));
        if (accrued > 0) _claimStakerRewards(_nodeOf(who), accrued);
    }

    function _claimStakerRewards(address who, uint128 accrued) private counted("claimStakerRewards") {
        vm.prank(who);
        staking.claimStakerRewards();
        rewardsOut += accrued;
    }

    // ---- what must not work: if it did, the books would no longer agree ----

    function steal(uint256 which, uint256 how) external counted("steal") {
        if (configs.length == 0) return;
        ChannelConfig memory config = configs[which % configs.length];
        how %= 6;
        if (how == 0) _refundTooMuch(config);
        if (how == 1) _finishAgain(config);
        if (how == 2) _releaseByHand(which);
        if (how == 3) _withdrawTooMuch(which);
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

    function _withdrawTooMuch(uint256 who) private {
        address account = _accountOf(who);
        uint128 more = rewards.balanceOf(account) + 1;
        vm.prank(account);
        try rewards.withdraw(stranger, more) {} catch {}
    }

    function _finalizeAgain(uint256 which) private {
        if (claims.length == 0) return;
        Claim storage it = claims[which % claims.length];
        if (it.state == IAttributionRewards.State.Finalized) {
            try rewards.finalize(_recordOf(it), it.payouts) {} catch {}
        }
        if (it.state != IAttributionRewards.State.None) {
            try rewards.finalizeLate(_recordOf(it)) {} catch {}
        }
    }

    /// @dev Stake that is not ripe, and rewards that are paid already.
    function _leaveAgain(uint256 who) private {
        this.claimStakerRewards(who);
        vm.startPrank(_nodeOf(who));
        try staking.claimStakerRewards() {} catch {}
        vm.stopPrank();
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

    /// @dev The base, and all adapters but those that retired too long ago.
    function _claimable() private view returns (bytes32[] memory some) {
        some = new bytes32[](adapterIds.length);
        uint256 count = 1;
        for (uint256 a = 1; a < adapterIds.length; ++a) {
            uint64 until = models.termsOf(adapterIds[a]).claimableUntil;
            if (until == 0 || block.timestamp < until) some[count++] = adapterIds[a];
        }
        assembly ("memory-safe") {
            mstore(some, count)
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
        bytes32 id = adapterIds[within(which, 1, adapterIds.length - 1)];
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
    }

    /// @dev Tokens that somebody just sends are nobody's, and disturb no sum.
    function donate(uint256 to, uint256 amount) external counted("donate") {
        address[4] memory all = [address(channels), address(rewards), address(staking), address(models)];
        amount = within(amount, 0, OPEN);
        token.transfer(all[to % 4], amount);
        donated[all[to % 4]] += amount;
    }
}
