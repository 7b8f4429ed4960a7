// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttributionRewards} from "../../src/interfaces/IAttributionRewards.sol";
import {
    ChannelConfig,
    ClaimRecord,
    EpochClaim,
    Item,
    Opening,
    Payout,
    PPM,
    Share
} from "../../src/interfaces/Types.sol";
import {vm} from "../support/Vm.sol";
import {Payers} from "./Payers.sol";

/// @notice What nodes do from a claim to a final list, and what others do in their place when they are late.
abstract contract Lists is Payers {
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
        bool isOver = block.timestamp > _recordOf(it).claimedAt + windows().propose;
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

    function _finalizeLateOf(Claim storage it) internal counted("finalizeLate") {
        ClaimRecord memory record = _recordOf(it);
        bool isProposed = it.state == IAttributionRewards.State.Proposed;
        uint256 start = isProposed ? rewards.proposalOf(record.node, record.seq).readyAt : record.claimedAt;
        if (block.timestamp <= start + windows().propose) vm.warp(start + windows().propose + 1);
        vm.prank(stranger);
        rewards.finalizeLate(record);
        it.state = IAttributionRewards.State.FinalizedLate;
    }
}
