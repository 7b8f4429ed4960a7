// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IContributorBonds as I} from "../../src/interfaces/IContributorBonds.sol";
import {IDatanetRegistry} from "../../src/interfaces/IDatanetRegistry.sol";
import {Tokens} from "../../src/lib/Tokens.sol";
import {FeeToken} from "../PaymentChannels/Open.t.sol";
import {Bonded} from "../support/Bonded.sol";
import {vm} from "../support/Vm.sol";

contract PostTest is Bonded {
    bytes32 private constant PERMIT_TYPE =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");

    function test_an_account_posts_a_bond_and_adds_to_it() public {
        bytes32 deciders = bonds.decidersOf(first);
        uint256 before = token.balanceOf(giver);
        _emits(address(datanets));
        emit I.BondPosted(first, giver, giver, POSTED, deciders);
        _postBy(giver, POSTED);
        _postBy(giver, OPEN);
        eq("held", _held().held, POSTED + OPEN);
        eq("leaving", _held().leaving, 0);
        eq("deciders", _held().deciders, deciders);
        eq("paid", before - token.balanceOf(giver), POSTED + OPEN);
        eq("elsewhere", bonds.bondOf(second, giver).held, 0);
        _checkSums();
    }

    function test_anybody_posts_for_an_account_whose_money_it_becomes() public {
        uint256 before = token.balanceOf(stranger);
        _emits(address(datanets));
        emit I.BondPosted(first, giver, stranger, POSTED, bonds.decidersOf(first));
        _postBy(stranger, POSTED);
        eq("paid", before - token.balanceOf(stranger), POSTED);
        _refuses(I.NoContributorBond.selector, abi.encode(first, stranger));
        vm.prank(stranger);
        bonds.startTakeBack(first, POSTED);
        _startTakeBack(POSTED);
        vm.warp(_held().readyAt);
        uint256 own = token.balanceOf(giver);
        vm.prank(giver);
        bonds.takeBackBond(first);
        eq("its own", token.balanceOf(giver) - own, POSTED);
    }

    function test_the_deciders_are_the_owner_and_the_curators() public {
        address[] memory none = new address[](0);
        eq("owner", bonds.decidersOf(first), keccak256(abi.encode(curator, none, uint32(0))));
        _curate(2);
        eq("curators", bonds.decidersOf(first), keccak256(abi.encode(curator, _three, uint32(2))));
    }

    /// @dev F: the owner names other curators in the moment in which a contributor posts.
    function test_not_under_deciders_that_were_changed_meanwhile() public {
        bytes32 agreed = bonds.decidersOf(first);
        _curate(1);
        bytes memory told = abi.encode(first, agreed, bonds.decidersOf(first));
        _refuses(I.OtherDeciders.selector, told);
        vm.prank(giver);
        bonds.postBond(first, giver, POSTED, agreed);
    }

    /// @dev F: a stranger's wei would put the bond of another under deciders that its account did not choose.
    function test_a_stranger_changes_no_deciders() public {
        _postBy(giver, POSTED);
        bytes32 agreed = _held().deciders;
        _curate(1);
        bytes32 current = bonds.decidersOf(first);
        _refuses(I.OtherDeciders.selector, abi.encode(first, agreed, current));
        vm.prank(stranger);
        bonds.postBond(first, giver, 1, current);
    }

    function test_the_account_agrees_to_new_deciders_by_posting_nothing() public {
        _postBy(giver, POSTED);
        _curate(1);
        _postBy(giver, 0);
        eq("deciders", _held().deciders, bonds.decidersOf(first));
        eq("held", _held().held, POSTED);
        _checkSums();
    }

    function test_a_first_post_is_more_than_nothing() public {
        bytes32 deciders = bonds.decidersOf(first);
        _refuses(I.ZeroAmount.selector);
        vm.prank(giver);
        bonds.postBond(first, giver, 0, deciders);
    }

    function test_a_post_for_somebody_else_is_more_than_nothing() public {
        _postBy(giver, 1);
        bytes32 deciders = bonds.decidersOf(first);
        _refuses(I.ZeroAmount.selector);
        vm.prank(stranger);
        bonds.postBond(first, giver, 0, deciders);
    }

    function test_nobody_has_no_bond() public {
        bytes32 deciders = bonds.decidersOf(first);
        _refuses(I.ZeroAccount.selector);
        vm.prank(giver);
        bonds.postBond(first, address(0), POSTED, deciders);
    }

    function test_there_is_no_bond_at_an_unknown_datanet() public {
        _refuses(IDatanetRegistry.UnknownDatanet.selector, abi.encode(bytes32("no")));
        bonds.postBond("no", giver, POSTED, 0);
    }

    function test_a_permit_replaces_the_approval_also_when_a_stranger_sent_it_first() public {
        vm.prank(giver);
        token.approve(address(bonds), 0);
        bytes32 content = keccak256(
            abi.encode(PERMIT_TYPE, giver, address(bonds), uint256(POSTED), token.nonces(giver), type(uint256).max)
        );
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(GIVER_KEY, _typed("OpenLedger", address(token), content));
        bytes32 deciders = bonds.decidersOf(first);
        token.permit(giver, address(bonds), POSTED, type(uint256).max, v, r, s);
        vm.prank(giver);
        bonds.postBondWithPermit(first, giver, POSTED, deciders, type(uint256).max, v, r, s);
        eq("held", _held().held, POSTED);
    }

    /// @dev F: the sums count what was asked for, so the last to take back would find less.
    function test_a_token_that_takes_a_fee_is_refused() public {
        FeeToken fee = new FeeToken();
        vm.etch(address(token), address(fee).code);
        bytes32 deciders = bonds.decidersOf(first);
        _refuses(Tokens.TokenTakesFee.selector, abi.encode(POSTED, POSTED - POSTED / 100));
        vm.prank(giver);
        bonds.postBond(first, giver, POSTED, deciders);
    }

    function test_the_treasury_is_somebody() public {
        _new("DatanetRegistry", abi.encode(token, params, treasury));
        vm.expectRevert();
        _new("DatanetRegistry", abi.encode(token, params, address(0)));
    }
}
