// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ClaimRecord, Item, NOBODY, Opening, Payout, PPM, Share, SumProof} from "../../src/interfaces/Types.sol";
import {vm} from "./Vm.sol";
import {World} from "./World.sol";

/// @notice The facts that a receipt states about the work.
struct Work {
    bytes32 requestId;
    bytes32 profileHash;
    bytes32 indexRoot;
    uint32 tokensIn;
    uint32 tokensOut;
    bytes32 promptCommit;
    bytes32 outputCommit;
    bytes32 retrievalHash;
    bytes32 signalsHash;
    bytes32 fingerprint;
}

/// @notice The statement that a node signs for each piece of work, and that the payer's authorizer countersigns.
/// Contracts read it as an {Opening}, without its work. `seq` counts in the channel, `issuedAt` is in seconds, and
/// `cumulative` counts in the lane (channel, adapter).
struct Receipt {
    bytes32 channelId;
    uint64 seq;
    uint64 issuedAt;
    bytes32 adapterId;
    uint128 amount;
    uint128 cumulative;
    uint32 algoId;
    bytes32 sharesHash;
    Work work;
}

/// @notice An honest node's side of a claim: its receipts in the order of the claim's line, the place of each share in
/// its account's entry, the payout list, the tree, and the openings of drawn points. Written from the rules, not with
/// the contracts' libraries.
abstract contract Receipts is World {
    /// @notice A receipt of `items[item]`. What is not countersigned counts for {NOBODY}.
    struct Entry {
        uint256 item;
        Receipt receipt;
        Share[] shares;
        uint256[] offsets;
        bool isCountersigned;
    }

    /// @notice A claim with the receipts behind it. `counts[i]` is false for an item that was skipped.
    struct Book {
        ClaimRecord record;
        bytes32[] adapters;
        Item[] items;
        bool[] counts;
        Entry[] entries;
        Payout[] payouts;
    }

    bytes32 private constant RECEIPT = keccak256(
        "Receipt(bytes32 channelId,uint64 seq,uint64 issuedAt,bytes32 adapterId,uint128 amount,uint128 cumulative,uint32 algoId,bytes32 sharesHash,Work work)Work(bytes32 requestId,bytes32 profileHash,bytes32 indexRoot,uint32 tokensIn,uint32 tokensOut,bytes32 promptCommit,bytes32 outputCommit,bytes32 retrievalHash,bytes32 signalsHash,bytes32 fingerprint)"
    );
    bytes32 private constant WORK = keccak256(
        "Work(bytes32 requestId,bytes32 profileHash,bytes32 indexRoot,uint32 tokensIn,uint32 tokensOut,bytes32 promptCommit,bytes32 outputCommit,bytes32 retrievalHash,bytes32 signalsHash,bytes32 fingerprint)"
    );

    // ---- receipts ----

    /// @dev `perItem` receipts for each item that counts, all countersigned, each with the shares that {_sharesOf}
    /// gives it.
    function _book(ClaimRecord memory record, bytes32[] memory adapters, Item[] memory items, uint256 perItem)
        internal
        view
        returns (Book memory book)
    {
        (book.record, book.adapters, book.items) = (record, adapters, items);
        book.counts = new bool[](items.length);
        for (uint256 i = 0; i < items.length; ++i) book.counts[i] = true;
        _fill(book, perItem);
    }

    function _fill(Book memory book, uint256 perItem) internal view {
        uint256 num = 0;
        for (uint256 i = 0; i < book.items.length; ++i) if (book.counts[i]) ++num;
        book.entries = new Entry[](num * perItem);
        uint256 at = 0;
        for (uint256 i = 0; i < book.items.length; ++i) {
            for (uint256 k = 0; book.counts[i] && k < perItem; ++k) {
                book.entries[at] = _entry(book, i, k, perItem, at);
                ++at;
            }
        }
        _list(book);
    }

    /// @dev The receipts of an item are about equally large.
    function _entry(Book memory book, uint256 i, uint256 k, uint256 perItem, uint256 at)
        private
        view
        returns (Entry memory entry)
    {
        Item memory item = book.items[i];
        uint256 whole = item.to - item.from;
        Receipt memory receipt = entry.receipt;
        receipt.channelId = channels.channelId(item.config);
        (receipt.seq, receipt.issuedAt) = (uint64(at), book.record.claimedAt);
        receipt.adapterId = book.adapters[item.adapter];
        receipt.cumulative = item.from + uint128(whole * (k + 1) / perItem);
        receipt.amount = uint128(whole * (k + 1) / perItem - whole * k / perItem);
        receipt.algoId = 1;
        receipt.work.requestId = bytes32(at);
        entry.item = i;
        entry.shares = _sharesOf(at, _datanetsOf(receipt.adapterId));
        entry.offsets = new uint256[](entry.shares.length);
        entry.isCountersigned = _isCountersigned(at);
        receipt.sharesHash = keccak256(abi.encode(entry.shares));
    }

    /// @dev Everything to {_contributor}; tests with more to say override it.
    function _sharesOf(uint256, bytes32[] memory datanetIds) internal view virtual returns (Share[] memory shares) {
        shares = new Share[](datanetIds.length);
        for (uint256 d = 0; d < shares.length; ++d) shares[d] = Share(datanetIds[d], _contributor(), uint32(PPM));
    }

    function _contributor() internal view virtual returns (address) {
        return alice;
    }

    function _isCountersigned(uint256) internal view virtual returns (bool) {
        return true;
    }

    function _datanetsOf(bytes32 adapterId) private view returns (bytes32[] memory) {
        return adapterId == BASE ? _none() : models.termsOf(adapterId).datanetIds;
    }

    // ---- the payout list ----

    /// @dev Give each share the next part of its account's entry. What is not countersigned has no part, and counts for
    /// nobody.
    function _list(Book memory book) internal pure {
        book.payouts = new Payout[](0);
        for (uint256 e = 0; e < book.entries.length; ++e) {
            Entry memory entry = book.entries[e];
            for (uint256 s = 0; s < entry.shares.length; ++s) {
                Share memory share = entry.shares[s];
                uint16 pot = _potOf(book.record, entry.receipt.adapterId, share.datanetId);
                address account = entry.isCountersigned ? share.account : NOBODY;
                entry.offsets[s] = _add(book, pot, account, uint256(entry.receipt.amount) * share.ppm);
            }
        }
    }

    function _potOf(ClaimRecord memory record, bytes32 adapterId, bytes32 datanetId)
        internal
        pure
        returns (uint16 pot)
    {
        while (record.pots[pot].adapterId != adapterId || record.pots[pot].datanetId != datanetId) ++pot;
    }

    /// @dev Add to an account's entry, in its place if it is new. Returns its weight before.
    function _add(Book memory book, uint16 pot, address account, uint256 weight)
        internal
        pure
        returns (uint256 before)
    {
        uint256 at = 0;
        Payout[] memory old = book.payouts;
        if (weight == 0) return 0;
        while (at < old.length && (old[at].pot < pot || (old[at].pot == pot && old[at].account < account))) ++at;
        if (at < old.length && old[at].pot == pot && old[at].account == account) {
            before = old[at].weight;
            old[at].weight += weight;
            return before;
        }
        book.payouts = new Payout[](old.length + 1);
        for (uint256 i = 0; i < old.length; ++i) book.payouts[i < at ? i : i + 1] = old[i];
        book.payouts[at] = Payout({pot: pot, account: account, weight: weight});
    }

    // ---- trees ----

    function _rootOf(Book memory book) internal view returns (bytes32) {
        (bytes32[] memory hashes, uint128[] memory sums) = _receiptLeaves(book);
        return _fold(hashes, sums);
    }

    function _itemsRootOf(Book memory book) internal view returns (bytes32) {
        (bytes32[] memory hashes, uint128[] memory sums) = _itemLeaves(book);
        return _fold(hashes, sums);
    }

    function _digest(Entry memory entry) internal view returns (bytes32) {
        Receipt memory r = entry.receipt;
        bytes memory head = abi.encode(RECEIPT, r.channelId, r.seq, r.issuedAt, r.adapterId, r.amount, r.cumulative);
        bytes32 work = keccak256(abi.encode(WORK, r.work));
        return _payments(keccak256(abi.encodePacked(head, abi.encode(r.algoId, r.sharesHash, work))));
    }

    function _receiptLeaf(bytes32 digest, uint256[] memory offsets) internal pure returns (bytes32) {
        return keccak256(abi.encode(keccak256("openledger.receipt-leaf/2"), digest, offsets));
    }

    function _receiptLeaves(Book memory book) internal view returns (bytes32[] memory hashes, uint128[] memory sums) {
        uint256 num = book.entries.length;
        (hashes, sums) = _room(num > _leavesMin() ? num : _leavesMin());
        for (uint256 e = 0; e < book.entries.length; ++e) {
            hashes[e] = _receiptLeaf(_digest(book.entries[e]), book.entries[e].offsets);
            sums[e] = book.entries[e].receipt.amount;
        }
    }

    function _itemLeaves(Book memory book) internal view returns (bytes32[] memory hashes, uint128[] memory sums) {
        (hashes, sums) = _room(book.items.length);
        for (uint256 i = 0; i < book.items.length; ++i) {
            Item memory item = book.items[i];
            hashes[i] = _leaf(item, book.adapters[item.adapter]);
            if (book.counts[i]) sums[i] = item.to - item.from;
        }
    }

    /// @dev A tree may be filled up with zeros.
    function _leavesMin() internal pure virtual returns (uint256) {
        return 1;
    }

    function _room(uint256 count) private pure returns (bytes32[] memory hashes, uint128[] memory sums) {
        uint256 width = 1;
        while (width < count) width *= 2;
        return (new bytes32[](width), new uint128[](width));
    }

    /// @dev One level up, in place.
    function _raise(bytes32[] memory hashes, uint128[] memory sums, uint256 width) private pure {
        for (uint256 i = 0; i < width; ++i) {
            (uint128 left, uint128 right) = (sums[2 * i], sums[2 * i + 1]);
            hashes[i] = keccak256(abi.encodePacked(hashes[2 * i], hashes[2 * i + 1], left, right));
            sums[i] = left + right;
        }
    }

    function _fold(bytes32[] memory hashes, uint128[] memory sums) internal pure returns (bytes32) {
        for (uint256 width = hashes.length / 2; width > 0; width /= 2) _raise(hashes, sums, width);
        return hashes[0];
    }

    function _proofOf(bytes32[] memory leaves, uint128[] memory amounts, uint256 index)
        internal
        pure
        returns (SumProof memory proof)
    {
        (bytes32[] memory hashes, uint128[] memory sums) = (new bytes32[](leaves.length), new uint128[](leaves.length));
        for (uint256 i = 0; i < leaves.length; ++i) (hashes[i], sums[i]) = (leaves[i], amounts[i]);
        uint256 depth = 0;
        while (1 << depth < hashes.length) ++depth;
        (proof.index, proof.siblings, proof.sums) = (index, new bytes32[](depth), new uint128[](depth));
        for (uint256 l = 0; l < depth; ++l) {
            (proof.siblings[l], proof.sums[l]) = (hashes[(index >> l) ^ 1], sums[(index >> l) ^ 1]);
            _raise(hashes, sums, hashes.length >> (l + 1));
        }
    }

    // ---- openings ----

    struct Trees {
        bytes32[] items;
        uint128[] itemSums;
        bytes32[] receipts;
        uint128[] receiptSums;
    }

    function _treesOf(Book memory book) internal view returns (Trees memory trees) {
        (trees.items, trees.itemSums) = _itemLeaves(book);
        (trees.receipts, trees.receiptSums) = _receiptLeaves(book);
    }

    function _opening(Book memory book, uint256 e, uint256 share) internal view returns (Opening memory) {
        return _opening(book, _treesOf(book), e, share);
    }

    function _opening(Book memory book, Trees memory trees, uint256 e, uint256 share)
        internal
        view
        returns (Opening memory opening)
    {
        Entry memory entry = book.entries[e];
        Item memory item = book.items[entry.item];
        Receipt memory r = entry.receipt;
        (opening.authorizer, opening.from, opening.to) = (item.config.authorizer, item.from, item.to);
        (opening.channelId, opening.seq, opening.issuedAt) = (r.channelId, r.seq, r.issuedAt);
        (opening.amount, opening.cumulative, opening.algoId) = (r.amount, r.cumulative, r.algoId);
        opening.workHash = keccak256(abi.encode(WORK, r.work));
        (opening.shares, opening.offsets, opening.share) = (entry.shares, entry.offsets, share);
        opening.countersignature = _sign(AUTHORIZER_KEY, _digest(entry));
        opening.item = _proofOf(trees.items, trees.itemSums, entry.item);
        opening.receipt = _proofOf(trees.receipts, trees.receiptSums, e);
    }

    struct Drawn {
        uint256 pot;
        address account;
        uint256 offset;
    }

    /// @dev The points that a seed draws, those of nobody included.
    function _points(Book memory book, bytes32 seed) internal view returns (Drawn[] memory points) {
        ClaimRecord memory record = book.record;
        uint256 total = 0;
        for (uint256 i = 0; i < record.pots.length; ++i) total += record.pots[i].amount;
        points = new Drawn[](total == 0 || book.payouts.length == 0 ? 0 : params.drawsAt(record.epoch));
        for (uint256 j = 0; j < points.length; ++j) {
            bytes32 random = keccak256(abi.encode(seed, record.node, record.seq, j));
            (uint256 money, uint256 pot) = (uint256(random) % total, 0);
            while (money >= record.pots[pot].amount) money -= record.pots[pot++].amount;
            uint256 place = uint256(keccak256(abi.encode(random))) % (PPM * record.pots[pot].gross);
            points[j] = _pointIn(book.payouts, pot, place);
        }
    }

    function _pointIn(Payout[] memory payouts, uint256 pot, uint256 place) private pure returns (Drawn memory) {
        for (uint256 i = 0; i < payouts.length; ++i) {
            if (payouts[i].pot != pot) continue;
            if (place < payouts[i].weight) return Drawn(pot, payouts[i].account, place);
            place -= payouts[i].weight;
        }
        return Drawn(pot, NOBODY, 0);
    }

    /// @dev The receipt and the share of it whose part holds a point. `isFound` is false if there is none, and then the
    /// first receipt is returned.
    function _find(Book memory book, Drawn memory point)
        internal
        pure
        returns (bool isFound, uint256 e, uint256 s)
    {
        for (e = 0; e < book.entries.length; ++e) {
            Entry memory entry = book.entries[e];
            for (s = 0; s < entry.shares.length && entry.isCountersigned; ++s) {
                bool isTheirs = entry.shares[s].account == point.account
                    && entry.receipt.adapterId == book.record.pots[point.pot].adapterId
                    && entry.shares[s].datanetId == book.record.pots[point.pot].datanetId;
                uint256 end = entry.offsets[s] + uint256(entry.receipt.amount) * entry.shares[s].ppm;
                if (isTheirs && point.offset >= entry.offsets[s] && point.offset < end) return (true, e, s);
            }
        }
        return (false, 0, 0);
    }

    /// @dev An opening for each point that is not nobody's, and how many points no receipt shows.
    function _openings(Book memory book, bytes32 seed)
        internal
        view
        returns (Opening[] memory openings, uint256 missing)
    {
        Drawn[] memory points = _points(book, seed);
        Trees memory trees = _treesOf(book);
        uint256 num = 0;
        for (uint256 j = 0; j < points.length; ++j) if (points[j].account != NOBODY) ++num;
        openings = new Opening[](num);
        num = 0;
        for (uint256 j = 0; j < points.length; ++j) {
            if (points[j].account == NOBODY) continue;
            (bool isFound, uint256 e, uint256 s) = _find(book, points[j]);
            if (!isFound) ++missing;
            openings[num++] = _opening(book, trees, e, s);
        }
    }

    // ---- from a claim to a final list ----

    /// @dev Claim a whole deposit, earned with one adapter in one receipt.
    function _booked(bytes32 adapter) internal returns (Book memory) {
        uint256 salt = uint256(keccak256(abi.encode("booked", channels.nextSeq(node))));
        Item[] memory items = _items(_lane(_open(salt), adapter, 0, 0, DEPOSIT));
        return _book(_claim(_ids(adapter), items), _ids(adapter), items, 1);
    }

    function _proposeBook(Book memory book) internal {
        bytes32 root = _rootOf(book);
        vm.prank(signer);
        rewards.propose(book.record, root, book.payouts);
    }

    /// @dev Propose, let the review period pass, and draw. The block that was drawn has `seed` as its hash.
    function _drawn(Book memory book, bytes32 seed) internal {
        _proposeBook(book);
        vm.warp(block.timestamp + windows().window);
        _draw(book.record, seed);
    }

    function _draw(ClaimRecord memory record, bytes32 seed) internal {
        address by = record.node == node ? signer : record.node;
        vm.prank(by);
        rewards.draw(record.node, record.seq);
        uint256 drawBlock = vm.getBlockNumber() + 1;
        vm.roll(drawBlock + 1);
        vm.setBlockhash(drawBlock, seed);
    }

    function _finalize(Book memory book) internal {
        _drawn(book, "seed");
        (Opening[] memory openings,) = _openings(book, "seed");
        rewards.finalize(book.record, book.payouts, openings);
    }
}
