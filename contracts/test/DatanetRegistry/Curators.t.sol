// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDatanetRegistry as I} from "../../src/interfaces/IDatanetRegistry.sol";
import {vm} from "../support/Vm.sol";
import {World} from "../support/World.sol";

contract DescribeTest is World {
    function test_an_owner_describes_a_datanet_when_creating_it_and_later() public {
        bytes32 id = keccak256(abi.encode(alice, "harbour"));
        vm.startPrank(alice);
        _emits(address(datanets));
        emit I.DatanetCreated(id, alice, "harbour", bob, 7, "CC0-1.0", 2);
        _emits(address(datanets));
        emit I.DatanetDescribed(id, "{}");
        eq("id", datanets.createDescribed("harbour", bob, 7, "CC0-1.0", 2, "{}"), id);
        _emits(address(datanets));
        emit I.DatanetDescribed(id, "another");
        datanets.describe(id, "another");
    }

    function test_only_its_owner_describes_it() public {
        _refuses(I.NotOwner.selector, abi.encode(first, stranger));
        vm.prank(stranger);
        datanets.describe(first, "{}");
        _refuses(I.UnknownDatanet.selector, abi.encode(bytes32("no")));
        datanets.describe("no", "{}");
    }

    function test_a_description_has_at_most_4096_bytes() public {
        vm.startPrank(curator);
        datanets.describe(first, string(new bytes(4096)));
        _refuses(I.MetadataTooLong.selector, abi.encode(4097, 4096));
        datanets.describe(first, string(new bytes(4097)));
    }
}

contract CuratorsTest is World {
    bytes32 private constant TYPE =
        keccak256("ApproveVersion(bytes32 datanetId,uint32 version,bytes32 rowsRoot,bytes32 contributorsRoot)");

    uint256[] private _keys; // ascending by address
    address[] private _three;

    function setUp() public override {
        super.setUp();
        _keys = [NODE_KEY, SIGNER_KEY, PAYER_KEY];
        for (uint256 i = 1; i < _keys.length; ++i) {
            for (uint256 at = i; at > 0 && vm.addr(_keys[at]) < vm.addr(_keys[at - 1]); --at) {
                (_keys[at], _keys[at - 1]) = (_keys[at - 1], _keys[at]);
            }
        }
        for (uint256 i = 0; i < _keys.length; ++i) _three.push(vm.addr(_keys[i]));
    }

    function _set(uint32 need) private {
        vm.prank(curator);
        datanets.setCurators(first, _three, need);
    }

    function _approval(uint256 key, uint32 version, bytes32 rows, bytes32 people) private view returns (bytes memory) {
        bytes32 content = keccak256(abi.encode(TYPE, first, version, rows, people));
        return _sign(key, _typed("OpenLedgerDatanets", address(datanets), content));
    }

    function _approvals(uint256 one, uint256 other) private view returns (bytes[] memory signed) {
        signed = new bytes[](2);
        signed[0] = _approval(_keys[one], 1, "rows", "people");
        signed[1] = _approval(_keys[other], 1, "rows", "people");
    }

    function _publish(bytes[] memory signed) private returns (uint32) {
        vm.prank(curator);
        return datanets.publishApproved(first, "rows", "people", signed);
    }

    function test_two_of_three_curators_approve_a_version() public {
        _emits(address(datanets));
        emit I.CuratorsChanged(first, _three, 2);
        _set(2);
        (address[] memory curators, uint32 need) = datanets.curatorsOf(first);
        eq("three", curators.length, 3);
        eq("two", need, 2);
        address[] memory approvers = new address[](2);
        (approvers[0], approvers[1]) = (_three[0], _three[2]);
        bytes[] memory signed = _approvals(0, 2);
        _emits(address(datanets));
        emit I.DatanetVersion(first, 1, "rows", "people");
        _emits(address(datanets));
        emit I.VersionApproved(first, 1, approvers);
        eq("version", _publish(signed), 1);
    }

    /// @dev F: an owner with curators publishes nothing without them.
    function test_the_owner_cannot_publish_alone() public {
        _set(2);
        _refuses(I.NeedsApprovals.selector, abi.encode(first, 1, 2, 0));
        vm.prank(curator);
        datanets.publish(first, "rows", "people");
        bytes[] memory one = new bytes[](1);
        one[0] = _approval(_keys[0], 1, "rows", "people");
        _refuses(I.NeedsApprovals.selector, abi.encode(first, 1, 2, 1));
        _publish(one);
    }

    /// @dev F: one curator counts once, however often they sign, and in one order only.
    function test_a_curator_counts_once() public {
        _set(2);
        bytes[] memory signed = _approvals(1, 1);
        _refuses(I.NotCurator.selector, abi.encode(first, _three[1]));
        _publish(signed);
        signed = _approvals(2, 0);
        _refuses(I.NotCurator.selector, abi.encode(first, _three[0]));
        _publish(signed);
    }

    function test_a_stranger_is_no_curator() public {
        _set(1);
        bytes[] memory signed = new bytes[](1);
        signed[0] = _approval(STRANGER_KEY, 1, "rows", "people");
        _refuses(I.NotCurator.selector, abi.encode(first, stranger));
        _publish(signed);
    }

    /// @dev F: an approval holds for one version of these rows and contributors, and is never used again.
    function test_an_approval_is_for_one_version() public {
        _set(1);
        bytes[] memory signed = new bytes[](1);
        signed[0] = _approval(_keys[0], 1, "rows", "people");
        _publish(signed);
        vm.prank(curator);
        vm.expectPartialRevert(I.NotCurator.selector);
        datanets.publishApproved(first, "rows", "people", signed);
        signed[0] = _approval(_keys[0], 2, "other rows", "people");
        vm.prank(curator);
        vm.expectPartialRevert(I.NotCurator.selector);
        datanets.publishApproved(first, "rows", "people", signed);
    }

    function test_a_signature_has_one_form() public {
        _set(1);
        bytes[4] memory forms = _forms(_approval(_keys[0], 1, "rows", "people"));
        bytes[] memory signed = new bytes[](1);
        for (uint256 i = 0; i < forms.length; ++i) {
            signed[0] = forms[i];
            _refuses(I.NotCurator.selector, abi.encode(first, address(0)));
            _publish(signed);
        }
    }

    function test_only_the_owner_publishes_what_curators_approved() public {
        _set(1);
        bytes[] memory signed = new bytes[](1);
        signed[0] = _approval(_keys[0], 1, "rows", "people");
        _refuses(I.NotOwner.selector, abi.encode(first, stranger));
        vm.prank(stranger);
        datanets.publishApproved(first, "rows", "people", signed);
    }

    function test_without_curators_the_owner_publishes_alone_again() public {
        _set(3);
        vm.startPrank(curator);
        datanets.setCurators(first, new address[](0), 0);
        eq("alone", datanets.publish(first, "rows", "people"), 1);
        eq("with none", datanets.publishApproved(first, "rows", "other people", new bytes[](0)), 2);
    }

    function test_only_the_owner_names_curators() public {
        _refuses(I.NotOwner.selector, abi.encode(first, stranger));
        vm.prank(stranger);
        datanets.setCurators(first, _three, 2);
    }

    /// @dev F: more approvals than curators would close the Datanet, and none would open it to its owner alone.
    function test_the_number_of_approvals_fits_the_curators() public {
        vm.startPrank(curator);
        _refuses(I.BadCurators.selector, abi.encode(3, 4, 16));
        datanets.setCurators(first, _three, 4);
        _refuses(I.BadCurators.selector, abi.encode(3, 0, 16));
        datanets.setCurators(first, _three, 0);
        _refuses(I.BadCurators.selector, abi.encode(0, 1, 16));
        datanets.setCurators(first, new address[](0), 1);
        address[] memory many = new address[](17);
        for (uint160 i = 0; i < 17; ++i) many[i] = address(i + 1);
        _refuses(I.BadCurators.selector, abi.encode(17, 2, 16));
        datanets.setCurators(first, many, 2);
    }

    function test_curators_are_distinct_and_not_zero() public {
        vm.startPrank(curator);
        address[] memory two = new address[](2);
        _refuses(I.CuratorsNotAscending.selector, abi.encode(address(0), address(0)));
        datanets.setCurators(first, two, 1);
        (two[0], two[1]) = (alice, alice);
        _refuses(I.CuratorsNotAscending.selector, abi.encode(alice, alice));
        datanets.setCurators(first, two, 1);
    }
}
