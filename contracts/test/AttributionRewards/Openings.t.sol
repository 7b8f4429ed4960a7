// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAttributionRewards as I} from "../../src/interfaces/IAttributionRewards.sol";
import {ClaimRecord, Item, NOBODY, Opening, Payout, PPM, Share} from "../../src/interfaces/Types.sol";
import {Point} from "../../src/lib/Draws.sol";
import {Openings} from "../../src/lib/Openings.sol";
import {SumTree} from "../../src/lib/SumTree.sol";
import {Receipts} from "../support/Receipts.sol";
import {vm} from "../support/Vm.sol";

/// @notice Three lanes of four receipts each, with three accounts in each receipt.
abstract contract Shown is Receipts {
    uint128 internal constant EACH = OPEN;
    uint256 internal constant PER_LANE = 4;

    function _sharesOf(uint256 r, bytes32[] memory ids) internal view virtual override returns (Share[] memory shares) {
        shares = new Share[](3 * ids.length);
        for (uint256 s = 0; s < shares.length; ++s) {
            shares[s] = Share(ids[s / 3], address(uint160(0xD000 + r % 2 * 3 + s % 3)), uint32(PPM / 3));
            if (s % 3 == 2) shares[s].ppm += 1;
        }
    }

    function _made() internal returns (Book memory) {
        Item[] memory items = new Item[](3);
        for (uint256 i = 0; i < 3; ++i) items[i] = _lane(_open(i), TWO, 0, 0, EACH * uint128(PER_LANE));
        return _book(_claim(_ids(TWO), items), _ids(TWO), items, PER_LANE);
    }

    function _send(Book memory book, Opening[] memory openings) internal {
        rewards.finalize(book.record, book.payouts, openings);
    }

    /// @dev The openings of an honest list that was drawn from, for a test to spoil.
    function _ready(Book memory book) internal returns (Opening[] memory openings) {
        _drawn(book, "seed");
        (openings,) = _openings(book, "seed");
        eq("no point is nobody's", openings.length, 4);
    }

    /// @dev The first seed whose first point is in the entry of an account, from `offset` on.
    function _seedFor(Book memory book, address account, uint256 offset) internal view returns (bytes32) {
        for (uint256 n = 1;; ++n) {
            Drawn memory point = _points(book, bytes32(n))[0];
            if (point.account == account && point.offset >= offset) return bytes32(n);
        }
        revert();
    }
}

contract OpeningsTest is Shown {
    function test_what_is_drawn_is_shown_by_countersigned_receipts() public {
        Book memory book = _made();
        _send(book, _ready(book));
        yes("final", rewards.proposalOf(node, 0).state == I.State.Finalized);
    }

    function test_what_a_later_claim_takes_of_a_lane_is_shown_too() public {
        Book memory book = _made();
        Item[] memory items = new Item[](3);
        for (uint256 i = 0; i < 3; ++i) {
            uint128 from = book.items[i].to;
            items[i] = _lane(book.items[i].config, TWO, 0, from, 3 * from);
        }
        book = _book(_claim(_ids(TWO), items), _ids(TWO), items, PER_LANE);
        _send(book, _ready(book));
        yes("final", rewards.proposalOf(node, 1).state == I.State.Finalized);
    }

    function check(Opening calldata opening, Point memory point, ClaimRecord calldata record, bytes32 receiptsRoot)
        external
        view
    {
        Openings.check(opening, point, record, receiptsRoot, channels.domainSeparator());
    }

    /// @dev F: a place more than a share's part has would be shown by two receipts.
    function test_a_part_covers_its_places_and_no_other() public {
        Book memory book = _made();
        bytes32 root = _rootOf(book);
        Opening memory opening = _opening(book, 2, 1);
        (uint256 start, uint256 length) = (opening.offsets[1], uint256(EACH) * opening.shares[1].ppm);
        yes("not the first part of its entry", start > 0);
        Point memory point = Point({pot: 0, account: opening.shares[1].account, offset: start});
        this.check(opening, point, book.record, root);
        point.offset = start + length - 1;
        this.check(opening, point, book.record, root);
        uint256[2] memory beyond = [start - 1, start + length];
        for (uint256 i = 0; i < 2; ++i) {
            point.offset = beyond[i];
            _refuses(Openings.NotShown.selector, abi.encode(0, point.account, beyond[i]));
            this.check(opening, point, book.record, root);
        }
    }

    function test_one_opening_for_each_point() public {
        Book memory book = _made();
        Opening[] memory openings = _ready(book);
        Opening[] memory fewer = new Opening[](3);
        Opening[] memory more = new Opening[](5);
        for (uint256 i = 0; i < 3; ++i) fewer[i] = openings[i];
        for (uint256 i = 0; i < 5; ++i) more[i] = openings[i % 4];
        _refuses(I.WrongOpenings.selector, abi.encode(3, 4));
        _send(book, fewer);
        _refuses(I.WrongOpenings.selector, abi.encode(5, 4));
        _send(book, more);
        _refuses(I.WrongOpenings.selector, abi.encode(0, 1));
        _send(book, new Opening[](0));
    }

    function test_another_accounts_share_shows_nothing() public {
        Book memory book = _made();
        Opening[] memory openings = _ready(book);
        openings[0].share = (openings[0].share + 1) % 3;
        vm.expectPartialRevert(Openings.NotShown.selector);
        _send(book, openings);
    }

    function test_a_receipt_for_another_place_of_the_entry_shows_nothing() public {
        Book memory book = _made();
        Opening[] memory openings = _ready(book);
        (, uint256 e, uint256 s) = _find(book, _points(book, "seed")[0]);
        // The same account, in every other receipt of the same shares.
        for (uint256 other = e % 2; other < book.entries.length; other += 2) {
            if (other == e) continue;
            openings[0] = _opening(book, other, s);
            vm.expectPartialRevert(Openings.NotShown.selector);
            _send(book, openings);
        }
    }

    /// @dev F: the node and its friends could sign as many receipts as they like.
    function test_a_receipt_that_the_payer_did_not_countersign_shows_nothing() public {
        Book memory book = _made();
        Opening[] memory openings = _ready(book);
        (, uint256 e,) = _find(book, _points(book, "seed")[0]);
        bytes32 digest = _digest(book.entries[e]);
        uint256[4] memory keys = [SIGNER_KEY, NODE_KEY, PAYER_KEY, STRANGER_KEY];
        for (uint256 i = 0; i < keys.length; ++i) {
            openings[0].countersignature = _sign(keys[i], digest);
            _refuses(Openings.NotCountersigned.selector, abi.encode(digest));
            _send(book, openings);
        }
        bytes[4] memory forms = _forms(_sign(AUTHORIZER_KEY, digest));
        for (uint256 i = 0; i < forms.length; ++i) {
            openings[0].countersignature = forms[i];
            _refuses(Openings.NotCountersigned.selector, abi.encode(digest));
            _send(book, openings);
        }
    }

    /// @dev F: the leaf says who the authorizer of an item is, not the node.
    function test_an_authorizer_of_the_nodes_choice_shows_nothing() public {
        Book memory book = _made();
        Opening[] memory openings = _ready(book);
        (, uint256 e,) = _find(book, _points(book, "seed")[0]);
        openings[0].authorizer = signer;
        openings[0].countersignature = _sign(SIGNER_KEY, _digest(book.entries[e]));
        _refuses(SumTree.BadProof.selector);
        _send(book, openings);
    }

    function test_no_word_of_a_receipt_can_be_changed() public {
        Book memory book = _made();
        Opening[] memory openings = _ready(book);
        for (uint256 i = 0; i < 6; ++i) {
            Opening memory changed = abi.decode(abi.encode(openings[0]), (Opening));
            if (i == 0) changed.seq += 1;
            if (i == 1) changed.issuedAt += 1;
            if (i == 2) changed.algoId += 1;
            if (i == 3) changed.workHash = "other work";
            if (i == 4) changed.channelId = "another channel";
            if (i == 5) changed.shares[(changed.share + 1) % 3].account = stranger;
            Opening[] memory all = abi.decode(abi.encode(openings), (Opening[]));
            all[0] = changed;
            vm.expectPartialRevert(Openings.NotCountersigned.selector);
            _send(book, all);
        }
    }

    function test_no_proof_can_be_changed() public {
        Book memory book = _made();
        Opening[] memory openings = _ready(book);
        for (uint256 i = 0; i < 7; ++i) {
            Opening[] memory all = abi.decode(abi.encode(openings), (Opening[]));
            if (i == 0) all[0].item.siblings[0] = "other";
            if (i == 1) all[0].item.sums[0] += 1;
            if (i == 2) all[0].item.index ^= 1;
            if (i == 3) all[0].receipt.siblings[1] = "other";
            if (i == 4) all[0].receipt.sums[1] += 1;
            if (i == 5) all[0].receipt.index += 1 << all[0].receipt.siblings.length;
            if (i == 6) all[0].receipt.sums = new uint128[](1);
            _refuses(SumTree.BadProof.selector);
            _send(book, all);
        }
    }

    /// @dev F: other places of the shares than the tree has would show any point.
    function test_the_places_of_shares_are_those_of_the_tree() public {
        Book memory book = _made();
        Opening[] memory openings = _ready(book);
        openings[0].offsets[openings[0].share] = _points(book, "seed")[0].offset;
        _refuses(SumTree.BadProof.selector);
        _send(book, openings);
    }

    /// @dev F: a receipt of what was claimed before, or of what is not claimed yet, shows nothing of this claim.
    function test_a_receipt_lies_within_what_its_item_claims() public {
        Book memory book = _made();
        Opening[] memory openings = _ready(book);
        uint128[4] memory cumulative = [0, EACH - 1, EACH * uint128(PER_LANE) + 1, type(uint128).max];
        for (uint256 i = 0; i < cumulative.length; ++i) {
            openings[0].cumulative = cumulative[i];
            bytes32 digest = _digestOf(book, openings[0]);
            openings[0].countersignature = _sign(AUTHORIZER_KEY, digest);
            _refuses(Openings.Misplaced.selector, abi.encode(digest));
            _send(book, openings);
        }
    }

    function _digestOf(Book memory book, Opening memory opening) private view returns (bytes32) {
        (, uint256 e,) = _find(book, _points(book, "seed")[0]);
        Entry memory entry = abi.decode(abi.encode(book.entries[e]), (Entry));
        entry.receipt.cumulative = opening.cumulative;
        return _digest(entry);
    }
}

/// @notice F: lists that give a friend more than receipts do. Each is made so that only one rule stands against it.
contract FalseListsTest is Shown {
    address private constant FRIEND = address(0xF0000000); // behind all others
    uint32 private _greed;

    function _sharesOf(uint256 r, bytes32[] memory ids) internal view override returns (Share[] memory shares) {
        shares = super._sharesOf(r, ids);
        if (_greed > 0) {
            shares = new Share[](1);
            shares[0] = Share(ids[0], FRIEND, _greed);
        }
    }

    /// @dev A list for the friend alone, and receipts of which none names it.
    function test_a_list_for_a_friend_alone_cannot_be_shown() public {
        Book memory book = _made();
        book.payouts = _payouts(book.record, FRIEND);
        _drawn(book, "seed");
        (Opening[] memory openings, uint256 missing) = _openings(book, "seed");
        eq("no point has a receipt", missing, 4);
        vm.expectPartialRevert(Openings.NotShown.selector);
        _send(book, openings);
    }

    /// @dev The friend's entry is longer than its receipts make it, and the point is behind them.
    function test_an_entry_longer_than_its_receipts_cannot_be_shown() public {
        Book memory book = _made();
        uint256 whole = book.payouts[1].weight;
        book.payouts[1].weight += book.payouts[0].weight;
        book.payouts = _without(book.payouts, 0);
        bytes32 seed = _seedFor(book, book.payouts[0].account, whole);
        _drawn(book, seed);
        (Opening[] memory openings, uint256 missing) = _openings(book, seed);
        yes("no receipt", missing > 0);
        vm.expectPartialRevert(Openings.NotShown.selector);
        _send(book, openings);
    }

    /// @dev The receipt of one place stands again in another leaf, with places behind all that its accounts have
    /// earned.
    function test_a_receipt_cannot_stand_twice_in_the_tree() public {
        Book memory book = _made();
        (address account, uint256 earned) = (book.payouts[0].account, book.payouts[0].weight);
        Entry memory again = abi.decode(abi.encode(book.entries[4]), (Entry));
        again.offsets[0] = earned;
        book.entries[5] = again;
        book.payouts[0].weight += uint256(EACH) * again.shares[0].ppm;
        book.payouts[4].weight -= uint256(EACH) * again.shares[0].ppm;
        bytes32 seed = _seedFor(book, account, earned);
        _drawn(book, seed);
        (Opening[] memory openings, uint256 missing) = _openings(book, seed);
        yes("as if all were there", missing == 0 || missing < 4);
        _refuses(Openings.Misplaced.selector, abi.encode(_digest(again)));
        _send(book, openings);
    }

    /// @dev A payer who is a friend countersigns a second receipt for money that has one already.
    function test_two_receipts_for_the_same_money_cannot_both_stand() public {
        Book memory book = _made();
        Entry memory second_ = abi.decode(abi.encode(book.entries[5]), (Entry));
        second_.shares = new Share[](1);
        second_.shares[0] = Share(first, FRIEND, uint32(PPM));
        second_.offsets = new uint256[](1);
        second_.receipt.seq = 999;
        second_.receipt.sharesHash = keccak256(abi.encode(second_.shares));
        book.entries[6] = second_; // in the leaf of the next receipt
        Payout[] memory list = book.payouts;
        book.payouts = new Payout[](0);
        for (uint256 i = 0; i < list.length; ++i) {
            uint256 cut = i == 0 ? uint256(EACH) * PPM : 0;
            _add(book, 0, list[i].account, list[i].weight - cut);
        }
        _add(book, 0, FRIEND, uint256(EACH) * PPM);
        bytes32 seed = _seedFor(book, FRIEND, 0);
        _drawn(book, seed);
        (Opening[] memory openings,) = _openings(book, seed);
        _refuses(Openings.Misplaced.selector, abi.encode(_digest(second_)));
        _send(book, openings);
    }

    /// @dev A friend pays a little and countersigns shares of four thousand times as much.
    function test_shares_of_more_than_the_whole_show_nothing() public {
        uint32[3] memory sums = [4_000_000_000, uint32(PPM) + 1, uint32(PPM) - 1];
        for (uint256 i = 0; i < sums.length; ++i) {
            _greed = sums[i];
            Item[] memory items = _items(_lane(_open(50 + i), TWO, 0, 0, DEPOSIT));
            Book memory book = _book(_claim(_ids(TWO), items), _ids(TWO), items, 1);
            book.payouts = _payouts(book.record, FRIEND);
            _drawn(book, "seed");
            (Opening[] memory openings,) = _openings(book, "seed");
            _refuses(Openings.BadShares.selector, abi.encode(first, sums[i]));
            _send(book, openings);
        }
    }

    /// @dev An inner node of the tree, shown as a leaf at half the depth, would cover the money of two receipts.
    function test_an_inner_node_is_no_leaf() public {
        Book memory book = _made();
        Opening[] memory openings = _ready(book);
        openings[0].receipt.index >>= 1;
        bytes32[] memory siblings = new bytes32[](openings[0].receipt.siblings.length - 1);
        uint128[] memory sums = new uint128[](siblings.length);
        for (uint256 i = 0; i < siblings.length; ++i) {
            (siblings[i], sums[i]) = (openings[0].receipt.siblings[i + 1], openings[0].receipt.sums[i + 1]);
        }
        (openings[0].receipt.siblings, openings[0].receipt.sums) = (siblings, sums);
        _refuses(SumTree.BadProof.selector);
        _send(book, openings);
    }

    /// @dev A receipt of one adapter for the pot of another, with the same Datanet, account and place.
    function test_a_receipt_of_another_adapter_shows_nothing() public {
        _greed = uint32(PPM);
        Item[] memory items = _items(_lane(_open(1), ONE, 0, 0, DEPOSIT), _lane(_open(2), TWO, 1, 0, DEPOSIT));
        Book memory book = _book(_claim(_ids(ONE, TWO), items), _ids(ONE, TWO), items, 1);
        _drawn(book, "seed");
        (Opening[] memory openings,) = _openings(book, "seed");
        for (uint256 i = 0; i < openings.length; ++i) openings[i] = _opening(book, 0, 0);
        vm.expectPartialRevert(Openings.NotCountersigned.selector);
        _send(book, openings);
    }

    /// @dev Less than receipts give is not a lie that pays: what is left is nobody's, and the protocol's.
    function test_a_list_may_leave_to_nobody_what_it_likes() public {
        Book memory book = _made();
        uint256 cut = book.payouts[0].weight / 2;
        book.payouts[0].weight -= cut;
        _add(book, 0, NOBODY, cut);
        _drawn(book, "seed");
        (Opening[] memory openings, uint256 missing) = _openings(book, "seed");
        eq("all is shown", missing, 0);
        _send(book, openings);
        yes("the protocol's", rewards.balanceOf(treasury) > book.record.protocol);
    }

    function _without(Payout[] memory list, uint256 index) private pure returns (Payout[] memory some) {
        some = new Payout[](list.length - 1);
        for (uint256 i = 0; i < some.length; ++i) some[i] = list[i < index ? i : i + 1];
    }
}
