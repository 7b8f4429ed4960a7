// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ChannelConfig, ClaimRecord, Item, Pot} from "../../src/interfaces/Types.sol";
import {World} from "../support/World.sol";

contract ClaimSplitTest is World {
    function test_base_only_pays_protocol_and_node() public {
        ClaimRecord memory record = _claimed(BASE);
        eq("protocol", record.protocol, DEPOSIT / 20);
        eq("node", record.nodeShare, DEPOSIT * 19 / 20);
        eq("credits", record.credits.length, 0);
        eq("pots", record.pots.length, 0);
    }

    /// @dev 100 OPEN: royalty 10, data 20, of which 12 to the first Datanet (1.2 its owner's) and 8 to the second.
    function test_an_adapter_pays_its_owner_and_its_datanets() public {
        ClaimRecord memory record = _claimed(ONE);
        eq("credits", record.credits.length, 2);
        eq("royalty to", record.credits[0].account, maker);
        eq("royalty", record.credits[0].amount, 10 * OPEN);
        eq("owner", record.credits[1].account, curator);
        eq("owner's share", record.credits[1].amount, 1.2e18);
        eq("pots", record.pots.length, 2);
        _isPot(record.pots[0], ONE, first, DEPOSIT, 10.8e18);
        _isPot(record.pots[1], ONE, second, DEPOSIT, 8 * OPEN);
        eq("node", record.nodeShare, 65 * OPEN);
    }

    function test_an_adapter_without_datanets_has_no_pots() public {
        ClaimRecord memory record = _claimed(BARE);
        eq("credits", record.credits.length, 1);
        eq("royalty", record.credits[0].amount, DEPOSIT / 20);
        eq("pots", record.pots.length, 0);
        eq("node", record.nodeShare, DEPOSIT * 9 / 10);
    }

    function test_an_adapter_named_but_not_used_owes_nothing() public {
        ClaimRecord memory record = _claim(_ids(BASE, ONE), _items(_item(_open(1), 0, DEPOSIT)));
        eq("credits", record.credits.length, 0);
        eq("pots", record.pots.length, 0);
    }

    /// @dev The gross of a pot is its adapter's, over all items that were not skipped, and the same for each of its
    /// Datanets.
    function test_a_pots_gross_is_the_adapters_whole_gross_without_skipped_items() public {
        Item[] memory items = new Item[](3);
        items[0] = _lane(_open(1), ONE, 0, 0, 30);
        items[1] = _lane(_open(2), ONE, 0, 0, 50);
        items[2] = _lane(_open(3), ONE, 0, 1, 90);
        ClaimRecord memory record = _claim(_ids(ONE), items);
        eq("gross", record.gross, 80);
        eq("first", record.pots[0].gross, 80);
        eq("second", record.pots[1].gross, 80);
    }

    function test_one_wei_is_the_nodes() public {
        ClaimRecord memory record = _claim(_ids(ONE), _items(_lane(_open(1), ONE, 0, 0, 1)));
        eq("node", record.nodeShare, 1);
        eq("credits", record.credits.length, 0);
        eq("pot", record.pots[0].amount, 0);
    }

    /// @dev gross = protocol + Σ credits + Σ pots + nodeShare, and nobody but the node gets what was rounded
    /// off.
    function test_fuzz_every_split_sums_exactly(uint128 base, uint128 one, uint128 two, uint128 bare) public {
        uint128[4] memory amounts = [base % (25 * OPEN), one % (25 * OPEN), two % (25 * OPEN), bare % (24 * OPEN) + 1];
        Item[] memory items = _lanes(_open(1), amounts);
        bytes32[] memory adapters = new bytes32[](4);
        (adapters[1], adapters[2], adapters[3]) = (ONE, TWO, BARE);
        ClaimRecord memory record = _claim(adapters, items);
        uint256 gross = uint256(amounts[0]) + amounts[1] + amounts[2] + amounts[3];
        eq("gross", record.gross, gross);
        eq("sum", _sum(record), gross);
        yes("protocol is at most its share", uint256(record.protocol) * 20 <= gross);
        yes("others' shares are within a wei of theirs", record.nodeShare <= gross * 19 / 20 + 20);
        yes("the node has all of the base", record.nodeShare >= uint256(amounts[0]) * 19 / 20);
    }

    /// @dev Where an adapter's money begins on the claim's line: behind that of the adapters before it.
    function test_a_pot_knows_where_its_adapters_money_begins() public {
        Item[] memory items = new Item[](4);
        items[0] = _item(_open(1), 0, 30);
        items[1] = _lane(_open(2), ONE, 1, 0, 50);
        items[2] = _lane(_open(3), ONE, 1, 0, 7);
        items[3] = _lane(_open(4), TWO, 2, 0, 900);
        bytes32[] memory adapters = new bytes32[](3);
        (adapters[1], adapters[2]) = (ONE, TWO);
        ClaimRecord memory record = _claim(adapters, items);
        eq("one", record.pots[0].start, 30);
        eq("one, too", record.pots[1].start, 30);
        eq("two", record.pots[2].start, 87);
    }

    function _lanes(ChannelConfig memory config, uint128[4] memory amounts) private view returns (Item[] memory items) {
        bytes32[4] memory adapters = [BASE, ONE, TWO, BARE];
        items = new Item[](4);
        for (uint16 a = 0; a < 4; ++a) items[a] = _lane(config, adapters[a], a, 0, amounts[a]);
    }

    function _isPot(Pot memory pot, bytes32 adapter, bytes32 datanet, uint128 gross, uint128 amount) private pure {
        eq("adapter", pot.adapterId, adapter);
        eq("datanet", pot.datanetId, datanet);
        eq("gross", pot.gross, gross);
        eq("amount", pot.amount, amount);
    }
}
