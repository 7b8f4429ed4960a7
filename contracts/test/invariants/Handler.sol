// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttributionRewards} from "../../src/interfaces/IAttributionRewards.sol";
import {UnbondRequest} from "../../src/interfaces/INodeStaking.sol";
import {ChannelConfig, ClaimFor, ClaimRecord, EpochClaim, Item, Opening, Payout, PPM, Share} from "../../src/interfaces/Types.sol";
import {vm} from "../support/Vm.sol";
import {Books} from "./Books.sol";

/// @notice Everything that can be done, by anybody it can be done by, with whatever numbers; what would be refused is
/// not tried, since each refusal has its own test, so that no call may revert.
contract Handler is Books {
    modifier counted(string memory action) {
        _;
        ++numCalls[action];
    }

    // ---- payers ----

    function open(uint256 who, uint256 amount, uint64 delay) external {
        if (configs.length == 12 || _isPaused()) return;
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
        if (isClosed && _isPaused()) return;
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
        Book memory book;
        (book.adapters, book.items, book.counts) = _itemsOf(by, seed);
        uint256 gross = _grossOf(book);
        if (gross > 0) _claimBy(by, book, gross);
    }

    /// @dev One to four lanes of one to four adapters, of anybody's channels; half of them by the book, the others
    /// wrong in one way or another. `counts` says which should count.
    function _itemsOf(address by, uint256 seed)
        private
        view
        returns (bytes32[] memory adapters, Item[] memory items, bool[] memory counts)
    {
        adapters = _claimable();
        items = new Item[](within(seed, 1, adapters.length < 4 ? adapters.length : 4));
        counts = new bool[](items.length);
        uint256 adapter = (seed >> 8) % (adapters.length - items.length + 1);
        for (uint16 i = 0; i < items.length; ++i) {
            uint256 random = uint256(keccak256(abi.encode(seed, i)));
            ChannelConfig memory config = configs[random % configs.length];
            bool isSound;
            (items[i], isSound) = _itemOf(config, adapters[adapter + i], uint16(adapter) + i, random);
            counts[i] = isSound && config.node == by && items[i].to - items[i].from <= _leftFor(items, counts, i);
        }
    }

    function _itemOf(ChannelConfig memory config, bytes32 adapterId, uint16 adapter, uint256 random)
        private
        view
        returns (Item memory item, bool isSound)
    {
        uint128 from = claimedIn[channels.channelId(config)][adapterId];
        uint128 amount = uint128(within(random >> 8, 1, random % 3 == 0 ? _left(config) + 1 : _left(config) / 3 + 1));
        item = _lane(config, adapterId, adapter, from, from + amount);
        uint256 fault = (random >> 128) % 8;
        if (fault == 0) item.from += 1;
        if (fault == 1) item.maxClaimable = item.to - 1;
        if (fault == 2) item.signature = _voucher(config, adapterId, item.to + 1);
        if (fault == 3) item.signature = _voucher(config, "another", item.to);
        return (item, fault > 3);
    }

    /// @dev What the items before this one leave of its channel's deposit.
    function _leftFor(Item[] memory items, bool[] memory counts, uint256 i) private view returns (uint256 left) {
        left = _left(items[i].config);
        for (uint256 k = 0; k < i; ++k) {
            if (counts[k] && items[k].config.salt == items[i].config.salt) left -= items[k].to - items[k].from;
        }
    }

    function _grossOf(Book memory book) private pure returns (uint256 gross) {
        for (uint256 i = 0; i < book.items.length; ++i) {
            if (book.counts[i]) gross += book.items[i].to - book.items[i].from;
        }
    }

    function _claimBy(address by, Book memory book, uint256 gross) private counted("claim") {
        EpochClaim memory epochClaim = _epochClaim(book.adapters, book.items);
        (epochClaim.node, epochClaim.seq) = (by, channels.nextSeq(by));
        vm.recordLogs();
        vm.prank(by);
        channels.claim(epochClaim, book.adapters, book.items, "");
        book.record = _lastRecord();
        eq("which items count", book.record.gross, gross);
        eq("items", book.record.itemsRoot, _itemsRootOf(book));
        ++numClaims[by];
        for (uint256 i = 0; i < book.items.length; ++i) {
            Item memory item = book.items[i];
            if (book.counts[i]) claimedIn[channels.channelId(item.config)][book.adapters[item.adapter]] = item.to;
            else ++numCalls["skip"];
        }
        _fill(book, 2);
        Claim storage it = claims.push();
        (it.record, it.book) = (abi.encode(book.record), abi.encode(book));
    }

    /// @dev Two accounts in each Datanet, account 0 now and then; every fourth receipt is not countersigned.
    function _sharesOf(uint256 r, bytes32[] memory ids) internal view override returns (Share[] memory shares) {
        shares = new Share[](2 * ids.length);
        for (uint256 d = 0; d < ids.length; ++d) {
            uint256 random = uint256(keccak256(abi.encode(r, ids[d], claims.length)));
            uint32 ppm = uint32(within(random, 0, PPM));
            shares[2 * d] = Share(ids[d], random % 3 == 0 ? address(0) : alice, ppm);
            shares[2 * d + 1] = Share(ids[d], bob, uint32(PPM) - ppm);
        }
    }

    function _isCountersigned(uint256 r) internal view override returns (bool) {
        return uint256(keccak256(abi.encode(r, claims.length))) % 4 > 0;
    }

    function propose(uint256 which, uint256 seed) external {
        if (claims.length == 0) return;
        Claim storage it = claims[which % claims.length];
        bool isOver = rewards.activeSince(_recordOf(it).claimedAt) > windows().propose;
        if (it.state == IAttributionRewards.State.None && !isOver) _proposeFor(it, seed);
    }

    /// @dev A pot in four is left out.
    function _proposeFor(Claim storage it, uint256 seed) private counted("propose") {
        Book memory book = _bookOf(it);
        Payout[] memory all = book.payouts;
        book.payouts = new Payout[](0);
        for (uint256 i = 0; i < all.length; ++i) {
            bool isListed = uint256(keccak256(abi.encode(seed, all[i].pot))) % 4 > 0;
            if (isListed) _add(book, all[i].pot, all[i].account, all[i].weight);
        }
        bytes32 root = _rootOf(book);
        vm.prank(book.record.node);
        rewards.propose(book.record, root, book.payouts);
        (it.book, it.state) = (abi.encode(book), IAttributionRewards.State.Proposed);
    }

    function draw(uint256 which, bytes32 seed) external {
        if (claims.length == 0) return;
        Claim storage it = claims[which % claims.length];
        if (it.state == IAttributionRewards.State.Proposed) _drawFor(_recordOf(it), seed);
    }

    /// @dev A draw that stands is made to lapse, as long as the node's share covers it.
    function _drawFor(ClaimRecord memory record, bytes32 seed) private counted("draw") {
        _awake();
        IAttributionRewards.Proposal memory proposal = rewards.proposalOf(record.node, record.seq);
        if (block.timestamp < proposal.readyAt) vm.warp(proposal.readyAt);
        if (proposal.drawBlock != 0) {
            if (proposal.redraws == proposal.redrawsMax) return;
            vm.roll(vm.getBlockNumber() + 258);
            ++numCalls["redraw"];
        }
        _draw(record, seed == 0 ? bytes32("seed") : seed);
    }

    function finalize(uint256 which) external {
        if (claims.length == 0) return;
        Claim storage it = claims[which % claims.length];
        if (it.state == IAttributionRewards.State.Proposed) _finalizeOf(it);
    }

    function _finalizeOf(Claim storage it) private {
        Book memory book = _bookOf(it);
        IAttributionRewards.Proposal memory proposal = rewards.proposalOf(book.record.node, book.record.seq);
        bool isDrawn = proposal.drawBlock != 0 && vm.getBlockNumber() <= proposal.drawBlock + 256;
        if (!isDrawn && proposal.drawBlock != 0 && proposal.redraws == proposal.redrawsMax) return;
        if (!isDrawn) _drawFor(book.record, keccak256(abi.encode(proposal.readyAt)));
        _awake();
        _show(it, book);
    }

    function _show(Claim storage it, Book memory book) private counted("finalize") {
        bytes32 seed = blockhash(rewards.proposalOf(book.record.node, book.record.seq).drawBlock);
        (Opening[] memory openings, uint256 missing) = _openings(book, seed);
        eq("an honest list is always shown", missing, 0);
        rewards.finalize(book.record, book.payouts, openings);
        it.state = IAttributionRewards.State.Finalized;
    }

    function finalizeLate(uint256 which) external {
        if (claims.length == 0) return;
        Claim storage it = claims[which % claims.length];
        if (_isLive(it)) _finalizeLateOf(it);
    }

    function _finalizeLateOf(Claim storage it) private counted("finalizeLate") {
        ClaimRecord memory record = _recordOf(it);
        _awake();
        bool isProposed = it.state == IAttributionRewards.State.Proposed;
        uint256 start = isProposed ? rewards.proposalOf(record.node, record.seq).readyAt : record.claimedAt;
        if (block.timestamp < start) vm.warp(start);
        uint256 active = rewards.activeSince(uint64(start));
        if (active <= windows().propose) vm.warp(block.timestamp + windows().propose + 1 - active);
        vm.prank(stranger);
        rewards.finalizeLate(record);
        it.state = IAttributionRewards.State.FinalizedLate;
    }

    // ---- the guardian and Disputes ----

    function pause(uint256 duration) external {
        (, uint64 until,) = rewards.latestPause();
        if (until == 0 || block.timestamp >= until + windows().pauseGap) _pause(uint64(within(duration, 1, 7 days)));
    }

    function _pause(uint64 duration) private counted("pause") {
        vm.prank(guardian);
        rewards.pause(duration);
    }

    function _isPaused() private view returns (bool) {
        (, uint64 until,) = rewards.latestPause();
        return block.timestamp < until;
    }

    function _awake() private {
        (, uint64 until,) = rewards.latestPause();
        if (block.timestamp < until) vm.warp(until);
    }

    function slash(uint256 who, uint256 amount) external counted("slash") {
        vm.prank(disputes);
        slashed += staking.slash(_nodeOf(who), uint128(within(amount, 0, MIN_STAKE)));
    }

    function hold(uint256 who, uint256 time) external counted("hold") {
        vm.prank(disputes);
        staking.hold(_nodeOf(who), uint64(block.timestamp + within(time, 0, 16 days)));
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
        if (block.timestamp < staking.heldUntil(who)) vm.warp(staking.heldUntil(who));
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
        if (_isLive(it)) return;
        Book memory book = _bookOf(it);
        try rewards.finalize(book.record, book.payouts, new Opening[](0)) {} catch {}
        try rewards.finalizeLate(book.record) {} catch {}
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
    /// What is left in the contracts is what was given to them, and fractions of a wei.
    function leave() external {
        for (uint256 i = 0; i < claims.length; ++i) if (_isLive(claims[i])) _finalizeLateOf(claims[i]);
        for (uint256 i = 0; i < configs.length; ++i) _emptyChannel(configs[i]);
        for (uint256 n = 0; n < NODES; ++n) _emptyStake(_nodeOf(n));
        for (uint256 a = 0; a < ACCOUNTS; ++a) _emptyBalance(_accountOf(a));
        for (uint256 i = 1; i < adapterIds.length; ++i) _emptyBond(i);
        eq("channels", token.balanceOf(address(channels)), donated[address(channels)]);
        eq("rewards", token.balanceOf(address(rewards)), donated[address(rewards)]);
        eq("bonds", token.balanceOf(address(models)), donated[address(models)]);
        uint256 dust = token.balanceOf(address(staking)) - donated[address(staking)];
        yes("stakes", dust * 1e18 < staking.accRemainder() + NODES * 1e18);
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
        (,,, uint128 accrued) = staking.nodeOf(who);
        if (accrued > 0) _claimStakerRewards(who, accrued);
    }

    function _emptyBalance(address account) private {
        uint128 balance = rewards.balanceOf(account);
        if (balance > 0) _withdrawTo(account, balance);
    }

    function _emptyBond(uint256 which) private {
        this.retire(which);
        this.reclaimBond(which);
    }
}
