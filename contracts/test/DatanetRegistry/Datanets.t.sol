// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDatanetRegistry as I} from "../../src/interfaces/IDatanetRegistry.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

contract CreateTest is World {
    function test_a_datanet_is_its_owners_and_its_names() public {
        bytes32 id = keccak256(abi.encode(alice, "harbour"));
        _emits(address(datanets));
        emit I.DatanetCreated(id, alice, "harbour", bob, 7, "CC0-1.0", 2);
        vm.prank(alice);
        eq("id", datanets.create("harbour", bob, 7, "CC0-1.0", 2), id);
        (address owner, address its, uint32 ownerPpm, uint32 version) = datanets.datanetOf(id);
        eq("owner", owner, alice);
        eq("treasury", its, bob);
        eq("owner's share", ownerPpm, 7);
        eq("no version yet", version, 0);
        (owner, ownerPpm) = datanets.ownerTermsOf(id);
        eq("owner", owner, alice);
        eq("owner's share", ownerPpm, 7);
        eq("rules", datanets.rulesOf(id), 2);
    }

    function test_a_datanet_allows_text_match_signals_or_both() public {
        vm.startPrank(alice);
        eq("signals", datanets.rulesOf(datanets.create("signals", bob, 7, "", 128)), 128);
        eq("both", datanets.rulesOf(datanets.create("both", bob, 7, "", 130)), 130);
    }

    /// @dev F: rules that pay for numbers of rows or accounts would pay whoever makes the most of them.
    function test_it_allows_some_rule_and_none_that_counts_rows_or_accounts() public {
        uint32[5] memory bad = [uint32(0), 1 << 4, 1 << 5 | 2, 1 << 2, type(uint32).max];
        for (uint256 i = 0; i < bad.length; ++i) {
            _refuses(I.BadRules.selector, abi.encode(bad[i], 130));
            datanets.create("harbour", bob, 7, "", bad[i]);
        }
    }

    /// @dev A name is nobody's: whoever takes it first takes it from himself alone.
    function test_the_same_name_of_another_owner_is_another_datanet() public {
        vm.prank(alice);
        bytes32 id = datanets.create("harbour", bob, 7, "", 2);
        vm.prank(bob);
        yes("another", datanets.create("harbour", bob, 7, "", 2) != id);
    }

    function test_terms_are_never_changed_by_creating_again() public {
        vm.startPrank(alice);
        bytes32 id = datanets.create("harbour", bob, 7, "", 2);
        _refuses(I.DatanetExists.selector, abi.encode(id));
        datanets.create("harbour", alice, 500_000, "", 2);
    }

    /// @dev F: not even when it has been given away: its founder could take it back with other terms.
    function test_who_gave_it_away_cannot_create_it_again() public {
        vm.startPrank(alice);
        bytes32 id = datanets.create("harbour", bob, 7, "", 2);
        datanets.transferOwnership(id, bob);
        vm.stopPrank();
        vm.prank(bob);
        datanets.acceptOwnership(id);
        _refuses(I.DatanetExists.selector, abi.encode(id));
        vm.prank(alice);
        datanets.create("harbour", alice, 7, "", 2);
    }

    /// @dev F: an owner who takes the whole pot leaves nothing to contributors.
    function test_it_has_a_name_a_treasury_and_a_share_up_to_a_half() public {
        _refuses(I.EmptyName.selector);
        datanets.create("", bob, 7, "", 2);
        _refuses(I.ZeroTreasury.selector);
        datanets.create("harbour", address(0), 7, "", 2);
        _refuses(I.BadOwnerPpm.selector, abi.encode(500_001, 500_000));
        datanets.create("harbour", bob, 500_001, "", 2);
        datanets.create("harbour", bob, 500_000, "", 2);
    }
}

contract PublishTest is World {
    function test_versions_count_from_one_and_stay() public {
        _emits(address(datanets));
        emit I.DatanetVersion(first, 1, "rows 1", "people 1");
        vm.startPrank(curator);
        eq("one", datanets.publish(first, "rows 1", "people 1"), 1);
        eq("two", datanets.publish(first, "rows 2", "people 2"), 2);
        (bytes32 rows, bytes32 people) = datanets.versionOf(first, 1);
        eq("rows", rows, "rows 1");
        eq("people", people, "people 1");
        (rows, people) = datanets.versionOf(first, 2);
        eq("rows", rows, "rows 2");
        eq("people", people, "people 2");
        (,,, uint32 version) = datanets.datanetOf(first);
        eq("version", version, 2);
    }

    /// @dev F: row → contributor comes from the Datanet's version, so nobody else may write one.
    function test_an_adapters_maker_cannot_publish_who_contributed() public {
        _refuses(I.NotOwner.selector, abi.encode(first, maker));
        vm.prank(maker);
        datanets.publish(first, "rows", "people");
    }

    /// @dev F: who publishes another's rows again would be paid for them.
    function test_rows_belong_to_the_datanet_that_published_them_first() public {
        vm.prank(curator);
        datanets.publish(first, "rows", "people");
        eq("holder", datanets.holderOf("rows"), first);
        vm.startPrank(stranger);
        bytes32 copy = datanets.create("a", stranger, 500_000, "", 2);
        _refuses(I.RowsPublished.selector, abi.encode(bytes32("rows"), first));
        datanets.publish(copy, "rows", "thieves");
        eq("other rows", datanets.publish(copy, "other rows", "thieves"), 1);
    }

    function test_their_datanet_publishes_them_again() public {
        vm.startPrank(curator);
        datanets.publish(first, "rows", "people");
        eq("version", datanets.publish(first, "rows", "corrected people"), 2);
    }

    function test_both_roots_are_needed() public {
        vm.startPrank(curator);
        _refuses(I.EmptyRoot.selector);
        datanets.publish(first, 0, "people");
        _refuses(I.EmptyRoot.selector);
        datanets.publish(first, "rows", 0);
    }

    function test_what_is_not_there_is_unknown() public {
        _refuses(I.UnknownDatanet.selector, abi.encode(bytes32("no")));
        datanets.publish("no", "rows", "people");
        _refuses(I.UnknownVersion.selector, abi.encode(first, 1));
        datanets.versionOf(first, 1);
        _refuses(I.UnknownDatanet.selector, abi.encode(bytes32("no")));
        datanets.datanetOf("no");
        _refuses(I.UnknownDatanet.selector, abi.encode(bytes32("no")));
        datanets.ownerTermsOf("no");
        _refuses(I.UnknownDatanet.selector, abi.encode(bytes32("no")));
        datanets.rulesOf("no");
    }
}

contract TransferOwnershipTest is World {
    function _offer(address to) private {
        vm.prank(curator);
        datanets.transferOwnership(first, to);
    }

    function _ownerOf(bytes32 id) private view returns (address owner) {
        (owner,,,) = datanets.datanetOf(id);
    }

    function test_a_datanet_changes_hands_when_the_new_owner_accepts() public {
        _emits(address(datanets));
        emit I.DatanetOwnerProposed(first, alice);
        _offer(alice);
        eq("not yet", _ownerOf(first), curator);
        _emits(address(datanets));
        emit I.DatanetOwnerChanged(first, alice);
        vm.prank(alice);
        datanets.acceptOwnership(first);
        eq("now", _ownerOf(first), alice);
        _refuses(I.NotOwner.selector, abi.encode(first, curator));
        _offer(curator);
    }

    function test_only_its_owner_offers_it() public {
        _refuses(I.NotOwner.selector, abi.encode(first, stranger));
        vm.prank(stranger);
        datanets.transferOwnership(first, stranger);
        _refuses(I.UnknownDatanet.selector, abi.encode(bytes32("no")));
        datanets.transferOwnership("no", stranger);
    }

    function test_only_who_was_offered_it_accepts() public {
        _offer(alice);
        _refuses(I.NotProposedOwner.selector, abi.encode(first, stranger));
        vm.prank(stranger);
        datanets.acceptOwnership(first);
        _refuses(I.UnknownDatanet.selector, abi.encode(bytes32("no")));
        datanets.acceptOwnership("no");
    }

    function test_an_offer_can_be_taken_back() public {
        _offer(alice);
        _offer(address(0));
        _refuses(I.NotProposedOwner.selector, abi.encode(first, alice));
        vm.prank(alice);
        datanets.acceptOwnership(first);
    }

    function test_an_offer_is_accepted_once() public {
        _offer(alice);
        vm.startPrank(alice);
        datanets.acceptOwnership(first);
        _refuses(I.NotProposedOwner.selector, abi.encode(first, alice));
        datanets.acceptOwnership(first);
    }

    /// @dev What was claimed before is in its record: a new owner gets what is earned from then on.
    function test_credits_follow_the_owner_at_the_time_of_the_claim() public {
        address before = _claimed(TWO).credits[0].account;
        _offer(alice);
        vm.prank(alice);
        datanets.acceptOwnership(first);
        eq("before", before, curator);
        eq("after", _claimed(TWO).credits[0].account, alice);
    }
}

contract WithdrawRowsTest is World {
    bytes32 private constant TYPE = keccak256("WithdrawRows(bytes32 datanetId,address account,bytes32[] rows)");

    bytes32[] private _rows;

    function setUp() public override {
        super.setUp();
        _rows = [bytes32("row 1"), "row 2"];
    }

    function _digest(bytes32 id, address account) private view returns (bytes32) {
        bytes32 content = keccak256(abi.encode(TYPE, id, account, keccak256(abi.encodePacked(_rows))));
        return _typed("OpenLedgerDatanets", address(datanets), content);
    }

    function _announces(address account, bool byOwner) private {
        _emits(address(datanets));
        emit I.RowsWithdrawn(first, account, byOwner, uint64(block.timestamp) + 2 * windows().epoch, _rows);
    }

    function _refused(address account) private {
        _refuses(I.NotContributor.selector, abi.encode(first, account, address(this)));
    }

    function test_a_contributor_withdraws_what_is_theirs() public {
        _announces(alice, false);
        vm.prank(alice);
        datanets.withdrawRows(first, alice, _rows, "");
    }

    function test_the_owner_withdraws_rows_of_anyone() public {
        vm.startPrank(curator);
        _announces(alice, true);
        datanets.withdrawRows(first, alice, _rows, "");
        _announces(address(0), true);
        datanets.withdrawRows(first, address(0), _rows, "");
    }

    function test_anyone_may_carry_what_a_contributor_signed() public {
        _announces(signer, false);
        datanets.withdrawRows(first, signer, _rows, _sign(SIGNER_KEY, _digest(first, signer)));
    }

    /// @dev F: the owner ends the pay of a contributor, whose share goes to the owner's treasury.
    function test_an_owner_who_is_a_contributor_or_carries_a_signature_speaks_for_the_account() public {
        vm.startPrank(curator);
        _announces(curator, false);
        datanets.withdrawRows(first, curator, _rows, "");
        bytes memory signature = _sign(SIGNER_KEY, _digest(first, signer));
        _announces(signer, false);
        datanets.withdrawRows(first, signer, _rows, signature);
        _refuses(I.NotContributor.selector, abi.encode(first, alice, curator));
        datanets.withdrawRows(first, alice, _rows, signature);
    }

    /// @dev F: whoever withdraws the rows of another ends that person's pay.
    function test_nobody_else_withdraws_them() public {
        _refused(alice);
        datanets.withdrawRows(first, alice, _rows, "");
        _refused(alice);
        datanets.withdrawRows(first, alice, _rows, _sign(STRANGER_KEY, _digest(first, alice)));
        _refused(address(0));
        datanets.withdrawRows(first, address(0), _rows, new bytes(65));
    }

    function test_a_signature_is_of_these_rows_of_this_datanet() public {
        bytes memory other = _sign(SIGNER_KEY, _digest(second, signer));
        _refused(signer);
        datanets.withdrawRows(first, signer, _rows, other);
        bytes memory fewer = _sign(SIGNER_KEY, _digest(first, signer));
        _rows.push("row 3");
        _refused(signer);
        datanets.withdrawRows(first, signer, _rows, fewer);
    }

    function test_other_forms_of_a_signature_do_not_count() public {
        bytes[4] memory forms = _forms(_sign(SIGNER_KEY, _digest(first, signer)));
        for (uint256 i = 0; i < forms.length; ++i) {
            _refused(signer);
            datanets.withdrawRows(first, signer, _rows, forms[i]);
        }
    }

    function test_a_former_owner_withdraws_nothing() public {
        vm.prank(curator);
        datanets.transferOwnership(first, bob);
        vm.prank(bob);
        datanets.acceptOwnership(first);
        _refuses(I.NotContributor.selector, abi.encode(first, alice, curator));
        vm.prank(curator);
        datanets.withdrawRows(first, alice, _rows, "");
    }

    function test_it_names_rows_of_a_datanet_that_is_there() public {
        _refuses(I.UnknownDatanet.selector, abi.encode(bytes32("no")));
        datanets.withdrawRows("no", address(this), _rows, "");
        _refuses(I.NoRows.selector);
        datanets.withdrawRows(first, address(this), new bytes32[](0), "");
    }
}
